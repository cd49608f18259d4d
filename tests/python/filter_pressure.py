"""Sends batches on one Filter stream without reading an answer, as fast as it may, then reads all answers.

Usage: filter_pressure.py PROTO_DIRECTORY ADDRESS COUNT

Prints `held N` once nothing more could be sent for a second, waits for a line on standard input, and prints
`answered COUNT` when as many answers came, in order and whole.
"""

import sys
import tempfile
import threading
import time

import grpc
from grpc_tools import protoc

proto, address, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
out = tempfile.mkdtemp(prefix="hotlist-filter-")
arguments = ["protoc", f"-I{proto}", f"--python_out={out}", f"--grpc_python_out={out}", "hotlist/filter/v1/filter.proto"]
assert protoc.main(arguments) == 0
sys.path.insert(0, out)
from hotlist.filter.v1 import filter_pb2 as pb, filter_pb2_grpc  # noqa: E402

event = b'{"source":{"ip":"192.0.2.1"},"message":"' + b"x" * 400 + b'"}'
sent = 0


def requests():
    global sent
    for number in range(count):
        sent = number + 1
        yield pb.FilterRequest(id=number + 1, events=[event] * 10)


channel = grpc.insecure_channel(address)
answers = filter_pb2_grpc.FilterStub(channel).Stream(requests())
before = -1
while before != sent:
    before = sent
    time.sleep(1)
print(f"held {sent}", flush=True)
sys.stdin.readline()
read = 0
for answer in answers:
    read += 1
    assert answer.id == read and list(answer.events) == [event] * 10, answer
print(f"answered {read}", flush=True)

"""A node that knows nothing of the control stream but its published proto.

Usage: control_client.py PROTO_DIRECTORY ADDRESS

Does what the lines on standard input say, and prints one line for each:
  open NAME VERSION REFUSED  opens a stream as this node and asks for the slot SERVE         opened
  next                       waits for a response and checks it                              response VERSION SEGMENTS
  ack                        acknowledges it                                                 acked
  nack WORD                  refuses it, for this reason                                     nacked
  fetch DIGEST OFFSET        fetches a segment                                               fetched BYTES SHA256
  close                      ends the stream and waits until the other side has, too         closed MORE
What fails prints `error CODE DETAILS`.
"""

import hashlib
import json
import queue
import sys
import tempfile

import grpc
from grpc_tools import protoc

proto, address = sys.argv[1], sys.argv[2]
out = tempfile.mkdtemp(prefix="hotlist-control-")
arguments = ["protoc", f"-I{proto}", f"--python_out={out}", f"--grpc_python_out={out}", "hotlist/control/v1/control.proto"]
assert protoc.main(arguments) == 0
sys.path.insert(0, out)
from hotlist.control.v1 import control_pb2 as pb, control_pb2_grpc  # noqa: E402

stub = control_pb2_grpc.ControlStub(grpc.insecure_channel(address))
requests = responses = last = None
version = 0


def answer(serving, error=None):
    requests.put(pb.SyncRequest(slot=pb.SLOT_SERVE, version=serving, nonce=last.nonce, error=error))


def do(command, *words):
    global requests, responses, last, version
    if command == "open":
        name, version, refused = words[0], int(words[1]), int(words[2])
        requests = queue.Queue()
        node = pb.Node(name=name, labels={"language": "python"}, software=grpc.__version__)
        requests.put(pb.SyncRequest(node=node, slot=pb.SLOT_SERVE, version=version, refused_version=refused))
        responses = stub.Sync(iter(requests.get, None))
        return "opened"
    if command == "next":
        last = next(responses)
        manifest = json.loads(last.manifest)
        assert manifest["version"] == last.version and manifest["mode"] == "serve", manifest
        assert last.slot == pb.SLOT_SERVE and last.nonce, last
        return f"response {last.version} {','.join(segment['digest'] for segment in manifest['segments'])}"
    if command == "ack":
        version = last.version
        answer(version)
        return "acked"
    if command == "nack":
        answer(version, pb.Error(code=3, message=words[0]))
        return "nacked"
    if command == "fetch":
        chunks = stub.FetchSegment(pb.FetchSegmentRequest(digest=bytes.fromhex(words[0]), offset=int(words[1])))
        data = b"".join(chunk.data for chunk in chunks)
        return f"fetched {len(data)} {hashlib.sha256(data).hexdigest()}"
    if command == "close":
        requests.put(None)
        return f"closed {sum(1 for _ in responses)}"
    raise ValueError(command)


for line in sys.stdin:
    try:
        print(do(*line.split()), flush=True)
    except grpc.RpcError as error:
        print(f"error {error.code().name} {error.details()}", flush=True)

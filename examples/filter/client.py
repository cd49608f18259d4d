"""Matches events over Hotlist's Filter stream: NDJSON in, tagged events or only the hits out.

Usage: client.py [--address HOST:PORT] [--hits] [--batch N] [FILE]
       client.py [--address HOST:PORT] --check KIND VALUE

Needs grpcio and grpcio-tools. The stubs are generated from proto/ at each run, into a directory of their own.
"""

import argparse
import collections
import itertools
import json
import pathlib
import queue
import sys
import tempfile
import time

import grpc

PROTO = pathlib.Path(__file__).resolve().parents[2] / "proto"
# Batches that are sent and unanswered, at most.
UNANSWERED = 16
PAUSE = 0.5


def stubs():
    """The generated modules of filter.proto."""
    from grpc_tools import protoc

    out = tempfile.mkdtemp(prefix="hotlist-filter-")
    arguments = ["protoc", f"-I{PROTO}", f"--python_out={out}", f"--grpc_python_out={out}", "hotlist/filter/v1/filter.proto"]
    if protoc.main(arguments) != 0:
        sys.exit("the stubs cannot be generated")
    sys.path.insert(0, out)
    from hotlist.filter.v1 import filter_pb2, filter_pb2_grpc

    return filter_pb2, filter_pb2_grpc


def batches(lines, size, answer, pb):
    events = (line.rstrip() for line in lines)
    events = (event for event in events if event)
    for number in itertools.count(1):
        batch = list(itertools.islice(events, size))
        if not batch:
            return
        yield pb.FilterRequest(id=number, events=batch, answer=answer)


def exchange(channel, requests, pb, pb_grpc, write):
    """Sends every batch until it is taken; returns how many never will be."""
    queued, unanswered, failed = queue.Queue(), collections.deque(), 0
    again = collections.deque()

    def feed():
        while len(unanswered) < UNANSWERED:
            request = again.popleft() if again else next(requests, None)
            if request is None:
                return
            unanswered.append(request)
            queued.put(request)

    feed()
    answers = pb_grpc.FilterStub(channel).Stream(iter(queued.get, None))
    while unanswered:
        # Answers come in the order of the requests.
        answer, request = next(answers), unanswered.popleft()
        if answer.HasField("refusal"):
            refusal = answer.refusal
            print(f"batch {request.id} was refused: {refusal.code}: {refusal.message}", file=sys.stderr)
            if refusal.code in (grpc.StatusCode.UNAVAILABLE.value[0], grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]):
                again.append(request)
                time.sleep(PAUSE)
            else:
                failed += 1
        else:
            for event in itertools.chain(answer.events, (hit.event for hit in answer.hits)):
                write(event + b"\n")
        feed()
    # The end of our half: what follows is the end of the stream, and its status.
    queued.put(None)
    for answer in answers:
        raise RuntimeError(f"an answer to nothing: {answer}")
    return failed


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--address", default="127.0.0.1:14319")
    parser.add_argument("--hits", action="store_true", help="print only the events that hit")
    parser.add_argument("--batch", type=int, default=500, help="events in a batch")
    parser.add_argument("--check", nargs=2, metavar=("KIND", "VALUE"), help="look up one value instead")
    parser.add_argument("file", nargs="?", help="events, one JSON object a line; standard input when absent")
    args = parser.parse_args()
    pb, pb_grpc = stubs()
    unbounded = [("grpc.max_receive_message_length", -1)]
    with grpc.insecure_channel(args.address, options=unbounded) as channel:
        if args.check:
            kind, value = args.check
            asked = pb.CheckRequest(values=[pb.Value(kind=kind, value=value)])
            result = pb_grpc.FilterStub(channel).Check(asked).results[0]
            if result.error:
                sys.exit(result.error)
            for match in result.matches:
                print(json.dumps({"indicator": match.indicator, "feed": match.feed, "id": match.id}))
            return
        answer = pb.ANSWER_HITS if args.hits else pb.ANSWER_EVENTS
        lines = open(args.file, "rb") if args.file else sys.stdin.buffer
        requests = batches(lines, args.batch, answer, pb)
        failed = exchange(channel, requests, pb, pb_grpc, sys.stdout.buffer.write)
    if failed:
        sys.exit(f"{failed} batches can never be taken")


if __name__ == "__main__":
    main()

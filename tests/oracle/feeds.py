#!/usr/bin/env python3
"""What the independent oracle reads out of each real feed, for the comparison in tests/feeds.

usage: feeds.py DATA_DIR      one JSON object a line: {"file", "format", "values": [[type, canonical value], ...]}
"""
import json, os, sys

data = os.path.abspath(sys.argv[1])
sys.dont_write_bytecode = True
sys.path.insert(0, data)
import oracle

# Those that the importers read. Prose, AsciiDoc, YAML and wildcards in lists are left out: the oracle looks there for
# other things, or they are lists.
FORMATS = ('csv', 'lines', 'hosts', 'stix', 'maltrail', 'misp', 'zeek', 'rpz', 'adblock', 'dnsmasq', 'unbound', 'wildcard')

for source in json.load(open(data + '/iocs/sources.json', encoding='utf-8'))['files']:
    if source['format'] not in FORMATS:
        continue
    path = source['file'].split('/', 1)[1]
    with open(f'{data}/iocs/feeds/{path}', 'rb') as file:
        text = oracle.decode(file.read())
    values = set()
    for _, raw, typed, _ in oracle.PARSERS[source['format']](text):
        if typed == 'user':
            user = oracle.norm_user(raw)
            if user:
                values.add(('user', user))
        else:
            values.update((kind, value) for kind, value, _ in oracle.classify(raw, typed))
    print(json.dumps({'file': path, 'format': source['format'], 'values': sorted(values)}))

#!/usr/bin/env python3
"""Second opinion on the normalisers, from the independent oracle that comes with the shared data.

usage: normalise.py values DATA   one JSON array a line: [class, value, ip, domain, url, hash, email list, user, event host ip]
       normalise.py urls DATA     reads URLs, one JSON string a line, and writes the oracle's normal form of each
"""
import glob
import gzip
import json
import re
import sys

DATA = sys.argv[2]
sys.path.insert(0, DATA)
import oracle  # noqa: E402


def emails(value):
    """The addresses that the oracle's e-mail branch looks for in an event's value."""
    whole = oracle.norm_email(value)
    if whole:
        return [whole]
    found = re.findall(r'[^@\s<>"(),:;\[\]\\/]+@[^@\s<>"(),:;\[\]\\/]+', value)
    return [e for e in (oracle.norm_email(x.strip('.')) for x in found) if e]


def bare_url(value):
    """The form without scheme of an event's URL that has none."""
    m = re.match(r'^([^/?#@:\s]+)(:\d{1,5})?([/?].*)?$', value.strip())
    if m and (oracle.is_host(m[1]) or oracle.norm_ip(m[1])):
        u = oracle.norm_url('http://' + value.strip())
        return u[1] if u else None
    return None


def row(cls, value):
    text = lambda x: None if x is None else str(x)
    host = oracle.bare_host(value)
    address = oracle.norm_ip(value) or (host and oracle.norm_ip(host)) or None
    host_domain = host and oracle.norm_domain(host)
    url = oracle.norm_url(value)
    digest = oracle.norm_hash(value)
    return {'class': cls, 'value': value, 'ip': text(oracle.norm_ip(value)), 'event_ip': text(address),
            'domain': oracle.norm_domain(value), 'event_domain': host_domain or None,
            'url': url[0] if url else bare_url(value), 'hash': list(digest) if digest else None,
            'emails': emails(value), 'user': oracle.norm_user(value)}


def values():
    seen = set()
    for name in sorted(glob.glob(DATA + '/events/*.ndjson')):
        for line in open(name, encoding='utf-8'):
            for cls, _, value in oracle.observables(json.loads(line)):
                if (cls, value) not in seen:
                    seen.add((cls, value))
                    print(json.dumps(row(cls, value)))
    for line in gzip.open(DATA + '/truth/dev.indicators.ndjson.gz', 'rt', encoding='utf-8'):
        d = json.loads(line)
        cls = {'ip': 'ip', 'cidr': 'cidr', 'domain': 'domain', 'url': 'url', 'email': 'email'}.get(d['type'], 'hash')
        print(json.dumps(row(cls, d['value'])))


def urls():
    for line in sys.stdin:
        u = oracle.norm_url(json.loads(line))
        print(json.dumps(u[0] if u else None))


{'values': values, 'urls': urls}[sys.argv[1]]()

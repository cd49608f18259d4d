//! The keys under test: lines of the sample feeds, generated domains, and probes that are or are not among them.

use std::collections::HashSet;
use std::io::{self, BufRead, BufReader};
use std::net::IpAddr;
use std::path::Path;

use flate2::read::MultiGzDecoder;
use hotlist::intel::keys::{KeyHasher, KeySpace};

/// Distinct keys in no particular order, as feeds come; the number of a key is its payload.
#[derive(Default)]
pub struct Keys {
    pub name: String,
    /// Takes part in the hash, as everywhere.
    pub space: Option<KeySpace>,
    /// Bytes of each key where all have the same.
    pub width: Option<usize>,
    arena: Vec<u8>,
    ends: Vec<u32>,
}

impl Keys {
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    pub fn bytes(&self) -> usize {
        self.arena.len()
    }

    pub fn space(&self) -> KeySpace {
        self.space.unwrap_or(KeySpace::Text)
    }

    pub fn key(&self, number: usize) -> &[u8] {
        let start = number.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.arena[start as usize..self.ends[number] as usize]
    }

    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.len()).map(|number| self.key(number))
    }

    pub fn push(&mut self, key: &[u8]) {
        self.arena.extend_from_slice(key);
        self.ends.push(self.arena.len() as u32);
    }

    fn like(&self) -> Keys {
        Keys { name: self.name.clone(), space: self.space, width: self.width, ..Keys::default() }
    }
}

/// SplitMix64: a sequence that is the same in every run.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.next()) * bound as u128) >> 64) as usize
    }
}

/// Top-level domains, the frequent ones more than once.
const TLDS: [&str; 24] = [
    "com", "com", "com", "com", "com", "com", "net", "net", "org", "org", "xyz", "top", "info", "ru", "cn", "de",
    "co.uk", "com.br", "shop", "online", "site", "io", "eu", "click",
];

/// A domain of 10 to 25 bytes: one to three random labels before a common top-level domain.
fn domain(random: &mut Random, out: &mut Vec<u8>) {
    out.clear();
    let tld = TLDS[random.below(TLDS.len())];
    let most = 25 - tld.len() - 1;
    let length = (10 - tld.len() - 1) + random.below(most - (10 - tld.len() - 1) + 1);
    let labels = 1 + random.below(3);
    for at in 0..length {
        let dot = at > 0 && at + 1 < length && labels > 1 && at % (length / labels).max(2) == 0;
        let before = out.last().is_some_and(|byte| *byte == b'.');
        match dot && !before {
            true => out.push(b'.'),
            false => out.push(b"abcdefghijklmnopqrstuvwxyzaeioust0123-"[random.below(if at == 0 { 30 } else { 34 })]),
        }
    }
    out.push(b'.');
    out.extend_from_slice(tld.as_bytes());
}

/// So many generated domains.
pub fn generated(count: usize) -> Keys {
    let mut keys = Keys { name: "generated".to_owned(), space: Some(KeySpace::Domain), ..Keys::default() };
    let hasher = KeyHasher::new(1);
    let (mut seen, mut random, mut key) = (HashSet::with_capacity(count), Random(7), Vec::new());
    while keys.len() < count {
        domain(&mut random, &mut key);
        if seen.insert(hasher.hash(KeySpace::Domain, &key)) {
            keys.push(&key);
        }
    }
    keys
}

/// The bytes of the key that a line is.
type Form = fn(&str) -> Option<Vec<u8>>;

/// How the lines of a sample file are keys.
fn form(name: &str) -> (KeySpace, Form) {
    let plain: Form = |line| Some(line.as_bytes().to_vec());
    match name {
        "ipv4" | "cidr4" => (KeySpace::Ipv4, address),
        "ipv6" | "cidr6" => (KeySpace::Ipv6, address),
        "md5" => (KeySpace::Md5, digest),
        "sha1" => (KeySpace::Sha1, digest),
        "sha256" => (KeySpace::Sha256, digest),
        "sha512" => (KeySpace::Sha512, digest),
        "email" => (KeySpace::Email, plain),
        "domain" => (KeySpace::Domain, plain),
        _ => (KeySpace::Url, plain),
    }
}

/// An address in network order; a network has the length of its prefix behind.
fn address(line: &str) -> Option<Vec<u8>> {
    let (address, length) = line.split_once('/').map_or((line, None), |(address, length)| (address, Some(length)));
    let mut key = match address.parse().ok()? {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    if let Some(length) = length {
        key.push(length.parse().ok()?);
    }
    Some(key)
}

fn digest(line: &str) -> Option<Vec<u8>> {
    let pair = |at| u8::from_str_radix(line.get(at..at + 2)?, 16).ok();
    (0..line.len()).step_by(2).map(pair).collect()
}

/// The keys of one sample file, in a random order.
pub fn file(path: &Path) -> io::Result<Keys> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let name = name.split('.').next().unwrap_or_default();
    let (space, form) = form(name);
    let mut lines = Vec::new();
    for line in BufReader::new(MultiGzDecoder::new(std::fs::File::open(path)?)).lines() {
        lines.extend(form(line?.trim()).filter(|key| !key.is_empty()));
    }
    lines.sort_unstable();
    lines.dedup();
    let mut random = Random(11);
    for at in (1..lines.len()).rev() {
        lines.swap(at, random.below(at + 1));
    }
    let first = lines.first().map_or(0, Vec::len);
    let width = lines.iter().all(|line| line.len() == first).then_some(first);
    let mut keys = Keys { name: name.to_owned(), space: Some(space), width, ..Keys::default() };
    lines.iter().for_each(|line| keys.push(line));
    Ok(keys)
}

/// Keys to ask for, in random order: some that are there, and as many that differ from one in a few characters.
pub fn probes(keys: &Keys, count: usize) -> (Keys, Keys) {
    let hasher = KeyHasher::new(1);
    let space = keys.space();
    let known: HashSet<u64> = keys.iter().map(|key| hasher.hash(space, key)).collect();
    let (mut hits, mut misses, mut random) = (keys.like(), keys.like(), Random(13));
    while hits.len() < count {
        hits.push(keys.key(random.below(keys.len())));
    }
    while misses.len() < count {
        let mut key = keys.key(random.below(keys.len())).to_vec();
        for _ in 0..3 {
            let at = random.below(key.len());
            key[at] = match keys.width {
                Some(_) => random.next() as u8,
                None if key[at].is_ascii_alphanumeric() => b'a' + random.below(26) as u8,
                None => key[at],
            };
        }
        if !known.contains(&hasher.hash(space, &key)) {
            misses.push(&key);
        }
    }
    (hits, misses)
}

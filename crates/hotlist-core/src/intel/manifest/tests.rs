//! Manifests: what is read is what was written, every bound is held, and no byte can be changed under a signature.

use super::*;
use proptest::prelude::*;

fn instant(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn sample() -> Manifest {
    Manifest {
        audience: "acme/prod".to_owned(),
        version: 12,
        mode: Mode::Serve,
        issued: instant("2026-01-02T03:04:05Z"),
        expires: Some(instant("2026-02-02T03:04:05.5Z")),
        segments: vec![
            SegmentRef { digest: Digest::sha256(b"a"), bytes: 1 },
            SegmentRef { digest: Digest::sha256(b"bc"), bytes: 2 },
        ],
        revocations: vec![
            Revocation::Id { feed: "f".to_owned(), id: "indicator--1".to_owned() },
            Revocation::Value { feed: "f".to_owned(), kind: Kind::Domain, value: "evil.example".to_owned() },
        ],
        rules: vec![
            Rule { feed: "f".to_owned(), enabled: true, origin: Origin::Feed },
            Rule { feed: "g".to_owned(), enabled: false, origin: Origin::Collection },
        ],
    }
}

fn key(number: u8) -> Key {
    Key::from_seed([number; 32]).unwrap()
}

/// The sample with one text of its JSON replaced.
fn changed(from: &str, to: &str) -> Result<Manifest, ManifestError> {
    let text = String::from_utf8(sample().to_bytes().unwrap()).unwrap();
    assert!(text.contains(from), "{text}");
    Manifest::parse(text.replacen(from, to, 1).as_bytes())
}

#[test]
fn the_bytes_are_the_documented_ones() {
    let text = String::from_utf8(sample().to_bytes().unwrap()).unwrap();
    let a = Digest::sha256(b"a");
    assert_eq!(a.to_string(), "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb");
    let expected = format!(
        "{{\"audience\":\"acme/prod\",\"version\":12,\"mode\":\"serve\",\"issued\":\"2026-01-02T03:04:05Z\",\
         \"expires\":\"2026-02-02T03:04:05.5Z\",\"segments\":[{{\"digest\":\"{a}\",\"bytes\":1}},\
         {{\"digest\":\"{}\",\"bytes\":2}}],\"revocations\":[{{\"feed\":\"f\",\"id\":\"indicator--1\"}},\
         {{\"feed\":\"f\",\"kind\":\"domain\",\"value\":\"evil.example\"}}],\
         \"rules\":[{{\"feed\":\"f\",\"enabled\":true,\"origin\":\"feed\"}},\
         {{\"feed\":\"g\",\"enabled\":false,\"origin\":\"collection\"}}]}}",
        Digest::sha256(b"bc")
    );
    assert_eq!(text, expected);
    assert_eq!(Manifest::parse(text.as_bytes()).unwrap(), sample());
}

#[test]
fn a_problem_is_named_with_its_place() {
    for (from, to, wanted) in [
        ("\"version\":12", "\"version\":-1", "version"),
        ("\"serve\"", "\"both\"", "mode"),
        ("\"bytes\":2", "\"bytes\":2.5", "segments[1].bytes"),
        (":\"ca97", ":\"CA97", "segments[0].digest"),
        ("\"origin\":\"feed\"", "\"origin\":\"rule\"", "rules[0].origin"),
        ("2026-01-02T03:04:05Z", "yesterday", "issued"),
    ] {
        let error = changed(from, to).unwrap_err();
        assert!(matches!(&error, ManifestError::Json { path, .. } if path == wanted), "{to}: {error}");
    }
}

#[test]
fn the_text_of_a_problem_has_its_cause_and_how_to_fix_it() {
    for (from, to, wanted) in [
        ("\"version\":12", "\"version\":12,\"new\":1", "unknown field `new`"),
        ("\"version\":12", "\"version\":12,\"version\":13", "duplicate field `version`"),
        ("\"bytes\":2", "\"bytes\":2,\"name\":\"x\"", "unknown field `name`"),
        ("\"id\":\"indicator--1\"", "\"id\":\"1\",\"kind\":\"ip\"", "`id`, or a `kind` and a `value`"),
        ("\"kind\":\"domain\"", "\"kind\":\"domains\"", "`domains` is not a kind"),
        ("\"id\":\"indicator--1\"", "\"id\":\"1\",\"why\":1", "unknown field `why`"),
        ("]}", "]} x", "trailing characters"),
        ("{\"audience\"", "{\"audience", "not as it should be"),
        (",\"rules\"", ",\"rules_\"", "rules"),
    ] {
        let error = changed(from, to).unwrap_err().to_string();
        assert!(error.contains(wanted), "{to}: {error}");
        assert!(error.contains("`hotlist publish`"), "{error}");
    }
}

/// A change of the sample.
type Change = Box<dyn Fn(&mut Manifest)>;

/// Whether an error is the expected one; `None` if there should be none.
type Expected = Option<fn(&ManifestError) -> bool>;

/// Expects an error at a text with this path.
macro_rules! text_at {
    ($path:literal) => {
        Some(|e| matches!(e, Text { path, .. } if path == $path))
    };
}

#[test]
fn every_bound_is_held_when_reading_and_when_writing() {
    use ManifestError::*;
    let long = |count: usize| "x".repeat(count);
    let segment = |text: &str, bytes| SegmentRef { digest: Digest::sha256(text.as_bytes()), bytes };
    let rule = |feed: String| Rule { feed, enabled: true, origin: Origin::Feed };
    let id = |feed: String, id: String| Revocation::Id { feed, id };
    let cases: Vec<(&str, Change, Expected)> = vec![
        ("audience", Box::new(|m| m.audience = String::new()), Some(|e| matches!(e, Audience))),
        ("audience", Box::new(|m| m.audience = "Acme".to_owned()), Some(|e| matches!(e, Audience))),
        ("audience", Box::new(|m| m.audience = "x".repeat(129)), Some(|e| matches!(e, Audience))),
        ("audience", Box::new(|m| m.audience = "x".repeat(128)), None),
        ("version", Box::new(|m| m.version = 0), Some(|e| matches!(e, Version))),
        ("version", Box::new(|m| m.version = u64::MAX), None),
        ("expires", Box::new(|m| m.expires = Some(m.issued)), Some(|e| matches!(e, Expires))),
        ("expires", Box::new(|m| m.expires = None), None),
        (
            "4097 segments",
            Box::new(move |m| m.segments = vec![segment("a", 1); 4097]),
            Some(|e| matches!(e, TooMany { what: "segments", count: 4097, .. })),
        ),
        ("segments", Box::new(move |m| m.segments = vec![segment("a", 1); 4096]), None),
        ("segments", Box::new(|m| m.segments.clear()), None),
        ("segment 1", Box::new(move |m| m.segments[1].bytes = 0), Some(|e| matches!(e, SegmentBytes { index: 1, .. }))),
        (
            "segment 1",
            Box::new(move |m| m.segments[1].bytes = (1 << 40) + 1),
            Some(|e| matches!(e, SegmentBytes { index: 1, .. })),
        ),
        ("bytes", Box::new(move |m| m.segments[1].bytes = 1 << 40), None),
        (
            "segment 2",
            Box::new(move |m| m.segments.push(segment("a", 2))),
            Some(|e| matches!(e, SegmentLengths { index: 2 })),
        ),
        (
            "100001 revocations",
            Box::new(move |m| m.revocations = vec![id("f".into(), "i".into()); 100_001]),
            Some(|e| matches!(e, TooMany { what: "revocations", count: 100_001, .. })),
        ),
        ("revocations", Box::new(move |m| m.revocations = vec![id("f".into(), "i".into()); 100_000]), None),
        (
            "revocations[0].feed",
            Box::new(move |m| m.revocations[0] = id(String::new(), "i".into())),
            text_at!("revocations[0].feed"),
        ),
        (
            "revocations[0].feed",
            Box::new(move |m| m.revocations[0] = id(long(256), "i".into())),
            text_at!("revocations[0].feed"),
        ),
        (
            "revocations[0].id",
            Box::new(move |m| m.revocations[0] = id("f".into(), long(MAX_TEXT + 1))),
            text_at!("revocations[0].id"),
        ),
        (
            "revocations[0].id",
            Box::new(move |m| m.revocations[0] = id("f".into(), String::new())),
            text_at!("revocations[0].id"),
        ),
        ("id", Box::new(move |m| m.revocations[0] = id(long(255), long(MAX_TEXT))), None),
        (
            "10001 rules",
            Box::new(move |m| m.rules = (0..10_001).map(|n| rule(n.to_string())).collect()),
            Some(|e| matches!(e, TooMany { what: "rules", count: 10_001, .. })),
        ),
        ("rules", Box::new(move |m| m.rules = (0..10_000).map(|n| rule(n.to_string())).collect()), None),
        ("rules[0].feed", Box::new(move |m| m.rules[0].feed = long(256)), text_at!("rules[0].feed")),
        ("rule 1", Box::new(|m| m.rules[1].feed = "f".to_owned()), Some(|e| matches!(e, RuleTwice { index: 1 }))),
        (
            "bytes, and",
            Box::new(move |m| m.revocations = vec![id("f".into(), long(MAX_TEXT)); 300]),
            Some(|e| matches!(e, TooLong(_))),
        ),
    ];
    for (what, change, expected) in cases {
        let mut manifest = sample();
        change(&mut manifest);
        let written = manifest.to_bytes();
        let read = Manifest::parse(&serde_json::to_vec(&manifest).unwrap());
        let Some(is_expected) = expected else {
            assert_eq!(written.unwrap(), serde_json::to_vec(&manifest).unwrap(), "{what}");
            assert_eq!(read.unwrap(), manifest, "{what}");
            continue;
        };
        let error = written.unwrap_err();
        assert!(is_expected(&error) && error.to_string().contains(';'), "{what}: {error}");
        assert_eq!(read.unwrap_err(), error, "{what}");
    }
}

#[test]
fn a_manifest_expires_at_its_instant_and_counts_each_file_once() {
    let mut manifest = sample();
    assert!(!manifest.is_expired(instant("2026-02-02T03:04:05Z")));
    assert!(manifest.is_expired(instant("2026-02-02T03:04:05.5Z")));
    manifest.segments.push(manifest.segments[1]);
    assert_eq!(manifest.segment_bytes(), 3);
    manifest.expires = None;
    assert!(!manifest.is_expired(Timestamp::MAX));
}

/// The key of RFC 8032, section 7.1, test 2, and the files that openssl 3 writes for it.
#[test]
fn keys_and_signatures_are_those_of_the_standard() {
    let hex = |text: &str| {
        text.as_bytes()
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect::<Vec<u8>>()
    };
    let seed = hex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb");
    let key = Key::from_seed(seed.try_into().unwrap()).unwrap();
    assert_eq!(key.public().bytes()[..], hex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"));
    let signature = key.sign(&[0x72]);
    assert_eq!(
        signature.signature,
        hex(
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
        )
    );
    assert_eq!(signature.key_id, Digest::sha256(key.public().bytes()).to_string()[..16]);
    assert_eq!(
        key.to_pem(),
        "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIEzNCJso/5banbbDRuwRTg9bijGfNaumJNqM9u1PuKb7\n-----END PRIVATE KEY-----\n"
    );
    assert_eq!(
        key.public().to_pem(),
        "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAPUAXw+hDiVqStwqnTRt+vJyYLM8uxJaMwM1V8Sr0Zgw=\n-----END PUBLIC KEY-----\n"
    );
    assert_eq!(Key::from_pem(key.to_pem().as_bytes()).unwrap().public(), key.public());
    assert_eq!(PublicKey::from_pem(key.public().to_pem().as_bytes()).unwrap(), key.public());
    assert!(!format!("{key:?}").contains("4ccd") && !format!("{key:?}").contains("76, 205"));
}

/// The library's own output is version 2 of the document, with the public key inside.
#[test]
fn both_versions_of_a_private_key_are_read() {
    let random = ring::rand::SystemRandom::new();
    let document = Ed25519KeyPairDocument::new(&random);
    let key = Key::from_pem(document.pem.as_bytes()).unwrap();
    assert_eq!(key.public().bytes()[..], document.public);
    let other = Key::generate(&random).unwrap();
    assert_ne!(other.public(), key.public());
}

struct Ed25519KeyPairDocument {
    pem: String,
    public: Vec<u8>,
}

impl Ed25519KeyPairDocument {
    fn new(random: &ring::rand::SystemRandom) -> Ed25519KeyPairDocument {
        use base64::Engine as _;
        use ring::signature::{Ed25519KeyPair, KeyPair as _};
        let der = Ed25519KeyPair::generate_pkcs8(random).unwrap();
        let pair = Ed25519KeyPair::from_pkcs8(der.as_ref()).unwrap();
        let text = base64::engine::general_purpose::STANDARD.encode(der.as_ref());
        let pem = format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n");
        Ed25519KeyPairDocument { pem, public: pair.public_key().as_ref().to_vec() }
    }
}

#[test]
fn what_is_no_key_is_refused() {
    assert_eq!(Key::from_pem(b"").unwrap_err(), KeyError::PrivatePem);
    assert_eq!(Key::from_pem(key(1).public().to_pem().as_bytes()).unwrap_err(), KeyError::PrivatePem);
    assert_eq!(PublicKey::from_pem(key(1).to_pem().as_bytes()).unwrap_err(), KeyError::PublicPem);
    let x25519 = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VuAyEAPUAXw+hDiVqStwqnTRt+vJyYLM8uxJaMwM1V8Sr0Zgw=\n-----END PUBLIC KEY-----\n";
    assert_eq!(PublicKey::from_pem(x25519.as_bytes()).unwrap_err(), KeyError::Algorithm);
    let short = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIEzNCJs=\n-----END PRIVATE KEY-----\n";
    assert_eq!(Key::from_pem(short.as_bytes()).unwrap_err(), KeyError::Algorithm);
}

#[test]
fn one_trusted_signature_is_enough_and_each_refusal_has_its_reason() {
    let bytes = sample().to_bytes().unwrap();
    let (ours, theirs) = (key(1), key(2));
    let trusted = [ours.public()];
    let good = ours.sign(&bytes);
    assert_eq!(verify(&bytes, &[theirs.sign(&bytes), good.clone()], &trusted), Ok(ours.public()));
    assert!(matches!(verify(&bytes, &[], &trusted), Err(SignatureError::Unsigned { .. })));
    assert!(matches!(verify(&bytes, &[theirs.sign(&bytes)], &trusted), Err(SignatureError::Untrusted { .. })));
    assert!(matches!(verify(&bytes, std::slice::from_ref(&good), &[]), Err(SignatureError::Untrusted { .. })));
    let renamed = Signature { key_id: ours.public().id(), ..theirs.sign(&bytes) };
    assert!(matches!(verify(&bytes, &[renamed], &trusted), Err(SignatureError::Wrong { .. })));
    assert_eq!(verify(&bytes, &vec![good; 65], &trusted), Err(SignatureError::TooMany(65)));
}

/// Every single bit of a signed manifest and of its signature.
#[test]
fn no_bit_can_be_flipped() {
    let mut bytes = sample().to_bytes().unwrap();
    let key = key(1);
    let mut signature = key.sign(&bytes);
    for bit in 0..bytes.len() * 8 {
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(verify(&bytes, std::slice::from_ref(&signature), &[key.public()]).is_err(), "bit {bit}");
        bytes[bit / 8] ^= 1 << (bit % 8);
    }
    for bit in 0..512 {
        signature.signature[bit / 8] ^= 1 << (bit % 8);
        assert!(verify(&bytes, std::slice::from_ref(&signature), &[key.public()]).is_err(), "bit {bit}");
        signature.signature[bit / 8] ^= 1 << (bit % 8);
    }
    assert!(verify(&bytes, &[signature], &[key.public()]).is_ok());
}

fn text(max: usize) -> impl Strategy<Value = String> {
    proptest::collection::vec(any::<char>(), 1..max).prop_map(|chars| chars.into_iter().collect())
}

fn revocation() -> impl Strategy<Value = Revocation> {
    let kind = (0..Kind::ALL.len()).prop_map(|at| Kind::ALL[at]);
    prop_oneof![
        (text(40), text(40)).prop_map(|(feed, id)| Revocation::Id { feed, id }),
        (text(40), kind, text(40)).prop_map(|(feed, kind, value)| Revocation::Value { feed, kind, value }),
    ]
}

prop_compose! {
    fn any_manifest()(
        audience in "[a-z0-9._/-]{1,128}",
        version in 1..=u64::MAX,
        shadow: bool,
        issued in -60_000_000_000_000_000_000i128..200_000_000_000_000_000_000,
        life in proptest::option::of(1i128..1_000_000_000_000_000_000),
        segments in proptest::collection::hash_map(any::<[u8; 32]>(), 1..=MAX_SEGMENT_BYTES, 0..5),
        revocations in proptest::collection::vec(revocation(), 0..5),
        rules in proptest::collection::hash_map(text(40), any::<(bool, bool)>(), 0..5),
    ) -> Manifest {
        Manifest {
            audience,
            version,
            mode: if shadow { Mode::Shadow } else { Mode::Serve },
            issued: Timestamp::from_nanosecond(issued).unwrap(),
            expires: life.map(|life| Timestamp::from_nanosecond(issued + life).unwrap()),
            segments: segments.into_iter().map(|(digest, bytes)| SegmentRef { digest: Digest(digest), bytes }).collect(),
            revocations,
            rules: rules.into_iter().map(|(feed, (enabled, collection))| {
                Rule { feed, enabled, origin: if collection { Origin::Collection } else { Origin::Feed } }
            }).collect(),
        }
    }
}

proptest! {
    /// Guarantee: what is written is read as the same, and written again as the same bytes.
    #[test]
    fn a_manifest_survives_a_round_trip(manifest in any_manifest()) {
        let bytes = manifest.to_bytes().unwrap();
        let read = Manifest::parse(&bytes).unwrap();
        prop_assert_eq!(&read, &manifest);
        prop_assert_eq!(read.to_bytes().unwrap(), bytes);
    }

    /// Guarantee: no change of signed bytes passes, be it another byte, one more or one less.
    #[test]
    fn a_signature_holds_every_byte(manifest in any_manifest(), at: prop::sample::Index, flip in 1..=255u8, seed: [u8; 32]) {
        let bytes = manifest.to_bytes().unwrap();
        let key = Key::from_seed(seed).unwrap();
        let signatures = [key.sign(&bytes)];
        let trusted = [key.public()];
        prop_assert!(verify(&bytes, &signatures, &trusted).is_ok());
        let mut flipped = bytes.clone();
        flipped[at.index(bytes.len())] ^= flip;
        prop_assert!(verify(&flipped, &signatures, &trusted).is_err());
        prop_assert!(verify(&bytes[..at.index(bytes.len())], &signatures, &trusted).is_err());
        prop_assert!(verify(&[&bytes[..], &[flip]].concat(), &signatures, &trusted).is_err());
    }

    /// Guarantee: bytes and signatures survive the file in which they are kept together.
    #[test]
    fn the_signed_file_survives_a_round_trip(manifest: Vec<u8>, signature: Vec<u8>, key_id in text(20)) {
        let signed = Signed { manifest, signatures: vec![Signature { key_id, signature }] };
        let written = serde_json::to_vec(&signed).unwrap();
        prop_assert_eq!(serde_json::from_slice::<Signed>(&written).unwrap(), signed);
    }

    /// Guarantee: no bytes make the readers panic.
    #[test]
    fn arbitrary_bytes_do_no_harm(noise: Vec<u8>, manifest in any_manifest(), at: prop::sample::Index, byte: u8) {
        prop_assert!(Manifest::parse(&noise).is_err());
        let _ = (Key::from_pem(&noise), PublicKey::from_pem(&noise));
        let mut bytes = manifest.to_bytes().unwrap();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(read) = Manifest::parse(&bytes) {
            prop_assert!(read.to_bytes().is_ok());
        }
    }

    /// Guarantee: a digest is read as it is written, and in no other spelling.
    #[test]
    fn digests_have_one_spelling(bytes: [u8; 32], noise in text(70)) {
        let digest = Digest(bytes);
        prop_assert_eq!(digest.to_string().parse::<Digest>(), Ok(digest));
        if let Ok(read) = noise.parse::<Digest>() {
            prop_assert_eq!(read.to_string(), noise);
        }
    }
}

//! The importers against input that is no feed, or one that somebody made to harm.

use std::io::{self, Read, Write};

use hotlist::feed::{FeedError, FeedFormat, FeedOptions, Import, Limits, import, import_from};
use hotlist::schema::FieldTable;
use proptest::prelude::*;

fn formats() -> impl Iterator<Item = Option<FeedFormat>> {
    std::iter::once(None).chain(FeedFormat::ALL.into_iter().map(Some))
}

/// Options that leave the format open, or set it and what it needs.
fn in_format(format: Option<FeedFormat>) -> FeedOptions {
    let mut options = FeedOptions { format, ..FeedOptions::default() };
    if format == Some(FeedFormat::Json) {
        options.columns.value = Some("value".to_owned());
    }
    options
}

fn import_in_every_format(bytes: &[u8], table: &FieldTable) {
    for format in formats() {
        let options = in_format(format);
        if let Ok(import) = import(bytes, "feed", &options, table) {
            assert!(import.indicators.iter().all(|indicator| !indicator.terms.is_empty()));
            assert!(import.unusable.iter().all(|unusable| unusable.excerpt.chars().count() <= 100));
        }
    }
}

/// Scenario: nothing, random bytes, lines of megabytes, in every format.
/// Guarantee: an import or an error, never a panic, and excerpts stay short.
#[test]
fn malformed_files_are_survived() {
    let long = b"a.".repeat(1 << 20);
    let quotes = b"\"".repeat(1 << 16);
    let open_quote = [b"ioc,x\n\"".as_slice(), &b"evil.com,1\n".repeat(10_000)].concat();
    let one_object =
        format!("{{\"type\":\"indicator\",\"id\":\"indicator--1\",\"pattern\":\"[{}\"}}", "(".repeat(100_000));
    let cases: [&[u8]; 15] = [
        b"",
        b"\n\n\r\n",
        b"\xef\xbb\xbf",
        b"\xff\xfe",
        b"\xff\xfe\0\xd8",
        b"\0\0\0\0",
        b"\x1f\x8b\x08\0",
        b"\x28\xb5\x2f\xfd\0",
        b",,,,\n;;;;\n\"\"\"",
        b"{\"objects\":[1,[],{\"type\":\"indicator\"},null]}",
        b"[[[[{\"type\":1}]]]]",
        &long,
        &quotes,
        &open_quote,
        one_object.as_bytes(),
    ];
    let table = FieldTable::embedded(true).unwrap();
    cases.into_iter().for_each(|bytes| import_in_every_format(bytes, &table));
}

/// Scenario: a list in which a good line follows a line of a megabyte, a NUL, bytes that are no UTF-8, a lone quote.
/// Guarantee: the good lines are all imported, with their line numbers.
#[test]
fn bad_lines_never_drop_the_rest() {
    let mut bytes = Vec::new();
    for bad in [b"x".repeat(1 << 20), b"a\0b".to_vec(), b"\xe4\xfc".to_vec(), b"\"lone".to_vec(), b"[a = 'b'".to_vec()]
    {
        bytes.extend_from_slice(&bad);
        bytes.extend_from_slice(b"\ngood.example.com\n");
    }
    let table = FieldTable::embedded(true).unwrap();
    for format in [FeedFormat::List, FeedFormat::Csv] {
        let options = FeedOptions { format: Some(format), ..FeedOptions::default() };
        let import = import(&bytes, "feed", &options, &table).unwrap();
        let lines: Vec<_> = import.indicators.iter().map(|indicator| indicator.line).collect();
        assert_eq!(lines, [2, 4, 6, 8, 10], "{format}: {:?}", import.unusable);
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn read(bytes: &[u8], name: &str) -> Result<Import, FeedError> {
    import(bytes, name, &FeedOptions::default(), &FieldTable::embedded(true).unwrap())
}

/// Scenario: three lines of a million are broken.
/// Guarantee: exactly these three are listed, with their numbers, and all others are loaded.
#[test]
fn three_bad_lines_of_a_million_are_listed_and_cost_nothing_else() {
    let bad = [17, 500_000, 999_999];
    let mut text = Vec::new();
    for line in 1..=1_000_000u32 {
        if bad.contains(&line) {
            text.extend_from_slice(b"<<<<<<<\n");
        } else {
            writeln!(text, "{}", std::net::Ipv4Addr::from(0x0b00_0000 + line)).unwrap();
        }
    }
    let import = read(&text, "list.txt").unwrap();
    assert_eq!(import.unusable.iter().map(|unusable| unusable.line).collect::<Vec<_>>(), bad);
    assert_eq!(import.indicators.len(), 1_000_000 - bad.len());
    assert_eq!(import.indicators.last().map(|indicator| indicator.line), Some(1_000_000));
}

/// A valid file of each format, whose value is the same domain.
const SOUND: [(FeedFormat, &str); 11] = [
    (FeedFormat::Csv, "ioc,link\nevil.com,x\n"),
    (FeedFormat::List, "evil.com\n"),
    (FeedFormat::Hosts, "0.0.0.0 evil.com\n"),
    (
        FeedFormat::Stix,
        "{\"type\":\"indicator\",\"id\":\"indicator--1\",\"pattern\":\"[domain-name:value = 'evil.com']\"}\n",
    ),
    (FeedFormat::Misp, "{\"Attribute\":[{\"type\":\"domain\",\"value\":\"evil.com\",\"to_ids\":true}]}\n"),
    (FeedFormat::Zeek, "#fields\tindicator\tindicator_type\nevil.com\tIntel::DOMAIN\n"),
    (FeedFormat::Rpz, "evil.com CNAME .\n"),
    (FeedFormat::Adblock, "||evil.com^\n"),
    (FeedFormat::Dnsmasq, "address=/evil.com/#\n"),
    (FeedFormat::Unbound, "local-zone: \"evil.com\" always_null\n"),
    (FeedFormat::Json, "{\"value\":\"evil.com\"}\n"),
];

/// Scenario: the same file of each format plain, packed with gzip or zstd, and packed but cut off in the middle; and
/// nothing at all.
/// Guarantee: packing changes nothing, half a file fails as a whole and never passes for one, nothing is empty.
#[test]
fn every_format_may_be_packed_and_half_a_file_is_none() {
    let table = FieldTable::embedded(true).unwrap();
    for (format, text) in SOUND {
        let options = in_format(Some(format));
        let import = |bytes: &[u8]| import(bytes, "feed", &options, &table);
        let zstd = zstd::encode_all(text.as_bytes(), 1).unwrap();
        for bytes in [text.as_bytes(), &gzip(text.as_bytes()), &zstd] {
            let import = import(bytes).unwrap();
            let values: Vec<_> = import.indicators.iter().map(|i| i.terms[0].value.to_string()).collect();
            assert_eq!(values, ["evil.com"], "{format}: {:?}", import.unusable);
        }
        for packed in [gzip(text.as_bytes()), zstd] {
            let cut = import(&packed[..packed.len() - 6]);
            assert!(matches!(cut, Err(FeedError::Unreadable { .. })), "{format}: {cut:?}");
        }
        for nothing in [b"".as_slice(), b"\n\n", &gzip(b"")] {
            let import = import(nothing).unwrap();
            assert!(import.indicators.is_empty() && import.unusable.is_empty(), "{format}: {import:?}");
        }
    }
}

/// Scenario: files that are something else as a whole: noise, another packing, half a document.
/// Guarantee: an error that names the file, and what is wrong.
#[test]
fn what_is_no_feed_at_all_is_refused_by_name() {
    let noise: Vec<u8> = (0..100_000u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    for (bytes, reason) in [
        (noise.as_slice(), "control characters"),
        (&gzip(&noise), "control characters"),
        (b"PK\x03\x04rest", "zip"),
        (b"{\"type\":\"bundle\",\"objects\":[{\"type\":\"indica", "not valid JSON at line 1"),
        (b"{\"Event\":\n{\"Attribute\":[{\"ty", "not valid JSON at line 2"),
        (b"{\"what\":1}", "`format: json`"),
    ] {
        let error = read(bytes, "the.feed").unwrap_err().to_string();
        assert!(error.contains("the.feed") && error.contains(reason), "{error}");
    }
}

/// Scenario: between two good lines one that is longer than a line may be, in every format that has lines.
/// Guarantee: it is listed, the good ones are loaded, and no more is held than the limit allows: a reader that gives a
/// hundred times as much without end of line is read through.
#[test]
fn a_line_without_end_is_passed_over_in_every_format_that_has_lines() {
    let table = FieldTable::embedded(true).unwrap();
    let limits = Limits { line_bytes: 1 << 16, json_line_bytes: 1 << 16, ..Limits::default() };
    for (format, text) in SOUND.into_iter().filter(|(format, _)| *format != FeedFormat::Misp) {
        let last = text.lines().last().unwrap().replace("evil.com", "bad.org");
        let endless = io::repeat(b'a').take(100 << 16);
        let reader = text.as_bytes().chain(endless).chain(b"\n".as_slice()).chain(last.as_bytes());
        let import = import_from(reader, "feed", &FeedOptions { limits, ..in_format(Some(format)) }, &table).unwrap();
        assert_eq!(import.indicators.len(), 2, "{format}: {:?}", import.unusable);
        let [unusable] = import.unusable.as_slice() else { panic!("{format}: {:?}", import.unusable) };
        assert_eq!(unusable.line as usize, text.lines().count() + 1, "{format}");
        assert!(unusable.reason.contains("65536 bytes"), "{unusable:?}");
    }
}

/// Scenario: a JSON document larger than may be held.
/// Guarantee: it is refused with the limit, not read.
#[test]
fn a_document_beyond_its_limit_is_refused() {
    let table = FieldTable::embedded(true).unwrap();
    let limits = Limits { document_bytes: 1 << 20, ..Limits::default() };
    for format in [FeedFormat::Stix, FeedFormat::Misp, FeedFormat::Json] {
        let reader = b"[\n".as_slice().chain(io::repeat(b' '));
        let options = FeedOptions { limits, ..in_format(Some(format)) };
        let error = import_from(reader, "the.json", &options, &table).unwrap_err();
        assert!(matches!(error, FeedError::TooLarge { limit: 0x10_0000, .. }), "{error}");
    }
}

/// Scenario: a file of one line a million times, packed into next to nothing, where a thousand indicators may be.
/// Guarantee: it is refused as a whole, in every format that has lines; with as many as may be it is read.
#[test]
fn a_file_of_countless_indicators_is_refused() {
    let table = FieldTable::embedded(true).unwrap();
    for (format, text) in
        SOUND.into_iter().filter(|(format, _)| [FeedFormat::List, FeedFormat::Hosts, FeedFormat::Stix].contains(format))
    {
        let limits = Limits { indicators: 1_000, ..Limits::default() };
        let options = FeedOptions { limits, ..in_format(Some(format)) };
        let read = |lines: usize| import(&gzip(text.repeat(lines).as_bytes()), "feed", &options, &table);
        assert_eq!(read(1_000).unwrap().indicators.len(), 1_000, "{format}");
        let refused = read(200_000);
        assert!(matches!(refused, Err(FeedError::TooManyIndicators { limit: 1_000, .. })), "{format}: {refused:?}");
    }
}

/// Scenario: a CSV file of a hundred thousand columns, in its header or in one row.
/// Guarantee: such rows are listed and the others loaded.
#[test]
fn a_hundred_thousand_columns_cost_their_own_row() {
    let wide = "indicator,".repeat(100_000);
    let import = read(format!("ioc,link\n{wide}\nevil.com,x\n").as_bytes(), "f.csv").unwrap();
    assert_eq!(import.indicators.iter().map(|indicator| indicator.line).collect::<Vec<_>>(), [3]);
    assert!(import.unusable[0].reason.contains("100001 cells"), "{:?}", import.unusable);
    let import = read(format!("{wide}\n{wide}\n").as_bytes(), "f.csv").unwrap();
    assert_eq!((import.indicators.len(), import.unusable.len()), (0, 2));
}

/// Scenario: ten thousand levels of nesting in one object of each JSON format, and as a whole document.
/// Guarantee: nothing overflows; the object is listed and the one behind it loaded, the document is refused.
#[test]
fn deep_nesting_costs_its_own_object() {
    let table = FieldTable::embedded(true).unwrap();
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let deep = format!("{}1{}", open.repeat(10_000), close.repeat(10_000));
        for (format, text) in SOUND.into_iter().filter(|(_, text)| text.starts_with('{')) {
            let deeper = text.trim_end().replacen('{', &format!("{{\"x\":{deep},"), 1);
            let import =
                import(format!("{deeper}\n{text}").as_bytes(), "feed", &in_format(Some(format)), &table).unwrap();
            assert!(import.indicators.iter().any(|indicator| indicator.line == 2), "{format}: {import:?}");
            assert_eq!(import.indicators.len() + import.unusable.len(), 2, "{format}: {import:?}");
            let whole = hotlist::feed::import(deep.as_bytes(), "feed", &in_format(Some(format)), &table);
            assert!(whole.is_err() || whole.is_ok_and(|import| import.indicators.is_empty()), "{format}");
        }
    }
}

/// Scenario: names in Latin-1 and in UTF-8 in one file, and stray bytes.
/// Guarantee: both names are read.
#[test]
fn a_file_that_is_not_utf_8_is_read() {
    let import = read(b"b\xfccher.de\nb\xc3\xbccher.com\n\xff\xfe\xfd\n", "f.txt").unwrap();
    let values: Vec<_> = import.indicators.iter().map(|i| i.terms[0].value.to_string()).collect();
    assert_eq!(values, ["xn--bcher-kva.de", "xn--bcher-kva.com"]);
    assert_eq!(import.unusable.len(), 1);
}

proptest! {
    /// Guarantee: no bytes make an importer panic.
    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
        import_in_every_format(&bytes, &FieldTable::embedded(true).unwrap());
    }

    /// Guarantee: nor do bytes made of what feeds are made of.
    #[test]
    fn arbitrary_pieces_of_feeds_never_panic(pieces in prop::collection::vec(prop::sample::select(vec![
        "evil.com", "203.0.113.9", ":443", "/24", "[.]", "hxxp", "://", "[", "]", "'", "\"", ",", ";", "\t", "|", "\n",
        "\r\n", " ", "#", "type", "value", "domain", "user", "@", "*.", ".", "::1", "%", "é", "\u{feff}", "{", "}",
        "\"type\":", "\"objects\":", "\"Event\":", "\"Attribute\":[", "\"to_ids\":true", "\"value\":",
        " CNAME .", "rpz-ip", "zz", "$ORIGIN ", "(", "||", "^", "$", "@@", "address=/", "local-zone: ", "#fields\t",
        "indicator_type", "Intel::ADDR", "\"indicator\"", "[ipv4-addr:value = '203.0.113.9']", "valid_until", "-",
    ]), 0..40)) {
        import_in_every_format(pieces.concat().as_bytes(), &FieldTable::embedded(true).unwrap());
    }
}

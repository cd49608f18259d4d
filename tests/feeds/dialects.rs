//! Feeds as they are published: random indicators, written in each layout and dialect, are read back as they are.

use hotlist::feed::{FeedOptions, Import, import};
use hotlist::schema::FieldTable;
use proptest::prelude::*;

/// A value with the words by which feeds call its type.
#[derive(Clone, Debug)]
struct Written {
    value: String,
    /// ThreatFox, Microsoft Defender, MISP, plain speech.
    types: [&'static str; 4],
}

/// A layout: the header, a row with `{v}` for the value and `{0}` to `{3}` for its type, and whether it has URLs only.
struct Layout {
    header: &'static [&'static str],
    row: &'static [&'static str],
    only: Option<&'static str>,
}

const LAYOUTS: &[Layout] = &[
    Layout {
        header: &["id", "dateadded", "url", "url_status", "last_online", "threat", "tags", "urlhaus_link", "reporter"],
        row: &[
            "1",
            "2024-04-14 16:02:21",
            "{v}",
            "online",
            "",
            "malware_download",
            "32-bit,elf",
            "https://page.example/1/",
            "who",
        ],
        only: Some("url"),
    },
    Layout {
        header: &[
            "first_seen_utc",
            "ioc_id",
            "ioc_value",
            "ioc_type",
            "threat_type",
            "malware_printable",
            "reference",
            "tags",
        ],
        row: &["2024-01-08 15:23:26", "17", "{v}", "{0}", "botnet_cc", "Made, Up", "https://page.example/2", "a,b,c"],
        only: None,
    },
    Layout {
        header: &["IndicatorType", "IndicatorValue", "ExpirationTime", "Action", "Title", "Description"],
        row: &["{1}", "{v}", "2030-01-01T00:00:00.0Z", "Block", "a title", "some text, and more"],
        only: None,
    },
    Layout {
        header: &["uuid", "event_id", "category", "type", "value", "comment", "to_ids", "date"],
        row: &[
            "0a000000-0000-4000-8000-000000000001",
            "7",
            "Network activity",
            "{2}",
            "{v}",
            "a, comment",
            "1",
            "1541767959",
        ],
        only: None,
    },
    Layout {
        header: &["phish_id", "url", "phish_detail_url", "submission_time", "verified", "target"],
        row: &["1", "{v}", "http://page.example/detail?id=1", "2024-04-24T00:56:58+00:00", "yes", "shop.example"],
        only: Some("url"),
    },
    Layout { header: &["ioc", "victim", "reported_by"], row: &["{v}", "shop.example", "a@cert.example"], only: None },
    Layout {
        header: &["Type", "Indicator", "Valid Until", "Reference"],
        row: &["{3}", "{v}", "2030-12-31", "https://page.example/3"],
        only: None,
    },
    Layout { header: &["indicator"], row: &["{v}"], only: None },
];

/// How a table is written.
#[derive(Clone, Debug)]
struct Dialect {
    delimiter: char,
    quote_all: bool,
    blank: bool,
    end: &'static str,
    comment: bool,
    title: bool,
    separator_line: bool,
    encoding: usize,
}

fn values() -> impl Strategy<Value = Vec<Written>> {
    let written = |value: String, types| Written { value, types };
    let one = prop_oneof![
        "[a-z]{3,9}[.]bad[.]example"
            .prop_map(move |value| written(value, ["domain", "DomainName", "hostname", "FQDN"])),
        (1u8..224, any::<u8>(), any::<u8>(), 1u8..255).prop_map(move |(a, b, c, d)| {
            written(format!("{a}.{b}.{c}.{d}"), ["ip", "IpAddress", "ip-dst", "IPv4 address"])
        }),
        "http://[a-z]{3,9}[.]example/[a-z]{1,6}(,[0-9][.]html|;id=[0-9A-F]{2}|[?]a=[0-9][|][0-9])?"
            .prop_map(move |value| written(value, ["url", "Url", "url", "URL"])),
        "[0-9a-f]{64}".prop_map(move |value| written(value, ["sha256_hash", "FileSha256", "sha256", "SHA-256"])),
        "[a-z]{2,8}@[a-z]{3,8}[.]example"
            .prop_map(move |value| written(value, ["email", "email", "email-src", "E-mail"])),
    ];
    proptest::collection::vec(one, 1..9)
}

fn dialect() -> impl Strategy<Value = Dialect> {
    let characters = proptest::sample::select(vec![',', ';', '\t', '|']);
    let ends = proptest::sample::select(vec!["\n", "\r\n", "\r"]);
    (characters, any::<[bool; 5]>(), ends, 0usize..5).prop_map(
        |(delimiter, [quote_all, blank, comment, title, separator_line], end, encoding)| Dialect {
            delimiter,
            quote_all,
            // A blank before a mark that is not there is one of the cell.
            blank: blank && quote_all,
            end,
            comment,
            title: title && !comment,
            separator_line: separator_line && !comment && !title,
            encoding,
        },
    )
}

impl Dialect {
    fn line(&self, cells: &[String], out: &mut String) {
        for (at, cell) in cells.iter().enumerate() {
            if at > 0 {
                out.push(self.delimiter);
                out.push_str(if self.blank { " " } else { "" });
            }
            match self.quote_all || cell.contains([self.delimiter, '"']) {
                true => out.extend(["\"", &cell.replace('"', "\"\""), "\""]),
                false => out.push_str(cell),
            }
        }
        out.push_str(self.end);
    }

    fn encode(&self, text: &str) -> Vec<u8> {
        let wide = |to_bytes: fn(u16) -> [u8; 2], mark: &str| {
            format!("{mark}{text}").encode_utf16().flat_map(to_bytes).collect()
        };
        match self.encoding {
            0 => text.as_bytes().to_vec(),
            1 => format!("\u{feff}{text}").into_bytes(),
            2 => wide(u16::to_le_bytes, "\u{feff}"),
            3 => wide(u16::to_be_bytes, "\u{feff}"),
            _ => wide(u16::to_le_bytes, ""),
        }
    }
}

fn read(bytes: &[u8], name: &str) -> Import {
    let table = FieldTable::embedded(true).unwrap();
    import(bytes, name, &FeedOptions::default(), &table).unwrap_or_else(|error| panic!("{error}"))
}

fn found(import: &Import) -> Vec<String> {
    import.indicators.iter().flat_map(|one| &one.terms).map(|term| term.value.to_string()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Scenario: a table in the layout of a publisher, with any delimiter, line end, encoding and quoting, its header a
    /// row, a comment, or below a title.
    /// Guarantee: its values are the indicators, and nothing else is; no row is lost.
    #[test]
    fn every_layout_is_read_in_every_dialect(values in values(), dialect in dialect(), layout in 0..LAYOUTS.len()) {
        let layout = &LAYOUTS[layout];
        let values: Vec<&Written> = values.iter().filter(|one| layout.only.is_none_or(|only| one.types[0] == only)).collect();
        // A lone column of URLs is a list, and one cell is one without a delimiter.
        let is_list = layout.header.len() == 1;
        prop_assume!(!values.is_empty() && (!is_list || dialect.quote_all));
        let mut text = String::new();
        let header: Vec<String> = layout.header.iter().map(|word| (*word).to_owned()).collect();
        if dialect.separator_line {
            text.push_str(&format!("sep={}{}", dialect.delimiter, dialect.end));
        }
        if dialect.title && !is_list {
            dialect.line(&vec!["A report".to_owned(); 1].into_iter().chain(vec![String::new(); header.len() - 1]).collect::<Vec<_>>(), &mut text);
        }
        if dialect.comment {
            text.push_str(&format!("# made up{}# ", dialect.end));
        }
        dialect.line(&header, &mut text);
        for one in &values {
            let fill = |cell: &&str| {
                let mut cell = cell.replace("{v}", &one.value);
                for (at, word) in one.types.iter().enumerate() {
                    cell = cell.replace(&format!("{{{at}}}"), word);
                }
                cell
            };
            dialect.line(&layout.row.iter().map(fill).collect::<Vec<_>>(), &mut text);
        }
        let import = read(&dialect.encode(&text), "feed.csv");
        let expected: Vec<String> = values.iter().map(|one| one.value.clone()).collect();
        prop_assert_eq!(found(&import), expected, "{}\n{:?}\n{:?}", text, import.understood, import.unusable);
        prop_assert!(import.unusable.is_empty(), "{}\n{:?}", text, import.unusable);
    }

    /// Guarantee: a list of values is a list, whatever its URLs hold, and however its lines end.
    #[test]
    fn lists_are_read_with_every_line_end_and_encoding(values in values(), dialect in dialect()) {
        let mut text = format!("# made up{}", dialect.end);
        values.iter().for_each(|one| text.extend([&one.value, dialect.end]));
        let import = read(&dialect.encode(&text), "feed.txt");
        let expected: Vec<String> = values.iter().map(|one| one.value.clone()).collect();
        prop_assert_eq!(found(&import), expected, "{}\n{} {:?}", text, import.format, import.unusable);
        prop_assert!(import.unusable.is_empty());
    }

    /// Guarantee: objects with keys that are known are read from lines, arrays, pages and tables by id.
    #[test]
    fn json_is_read_by_its_keys_in_every_wrapping(values in values(), wrapping in 0usize..5) {
        let objects: Vec<serde_json::Value> = (values.iter())
            .map(|one| serde_json::json!({ "ioc": one.value, "ioc_type": one.types[0], "reporter": "a@cert.example" }))
            .collect();
        let text = match wrapping {
            0 => objects.iter().map(|object| format!("{object}\n")).collect(),
            1 => serde_json::json!(objects).to_string(),
            2 => serde_json::json!({ "status": "ok", "data": objects }).to_string(),
            3 => serde_json::to_string_pretty(&serde_json::json!({ "page": 1, "results": [{ "iocs": objects }] })).unwrap(),
            _ => {
                let by_id = objects.iter().enumerate().map(|(at, object)| (format!("{}", 1000 + at), serde_json::json!([object])));
                serde_json::Value::Object(by_id.collect()).to_string()
            }
        };
        let import = read(text.as_bytes(), "feed.json");
        let expected: Vec<String> = values.iter().map(|one| one.value.clone()).collect();
        prop_assert_eq!(found(&import), expected, "{}\n{:?}", text, import.unusable);
    }
}

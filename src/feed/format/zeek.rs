//! Zeek's intelligence framework: tab-separated lines, whose columns a line `#fields` names.
//!
//! The types are those of `Intel::Type` (`scripts/base/frameworks/intel/main.zeek`).

use crate::feed::classify;
use crate::feed::collect::{Collector, Facts};
use crate::feed::declared::Declared;
use crate::feed::reading::lines::Lines;
use crate::feed::{FeedError, Unusable};
use crate::intel::indicator::Context;
use crate::observable::Kind;

/// Zeek's types and what they are here. All others cannot be looked for.
const TYPES: [(&str, Declared); 7] = [
    ("Intel::ADDR", Declared::Of(Kind::Ip)),
    ("Intel::SUBNET", Declared::Of(Kind::Ip)),
    ("Intel::DOMAIN", Declared::Of(Kind::Domain)),
    ("Intel::URL", Declared::Of(Kind::Url)),
    ("Intel::FILE_HASH", Declared::Hash),
    ("Intel::EMAIL", Declared::Of(Kind::Email)),
    ("Intel::USER_NAME", Declared::Of(Kind::User)),
];

#[derive(Default)]
struct Fields {
    indicator: Option<usize>,
    kind: Option<usize>,
    source: Option<usize>,
    description: Option<usize>,
    url: Option<usize>,
}

impl Fields {
    fn read(header: &str) -> Fields {
        let at = |name: &str| header.split('\t').position(|field| field.trim() == name);
        Fields {
            indicator: at("indicator"),
            kind: at("indicator_type"),
            source: at("meta.source"),
            description: at("meta.desc"),
            url: at("meta.url"),
        }
    }
}

/// Imports a file of Zeek's intelligence framework.
pub(in crate::feed) fn import(mut lines: Lines<'_>, collector: &mut Collector) -> Result<(), FeedError> {
    let mut fields = Fields::default();
    lines.each(collector, |number, line, collector| {
        let line = line.trim_end_matches('\r');
        if let Some(header) = line.strip_prefix("#fields\t") {
            fields = Fields::read(header);
        } else if !line.trim().is_empty()
            && !line.starts_with('#')
            && let Err(reason) = import_line(&fields, number, line, collector)
        {
            let excerpt: String = line.chars().take(Unusable::MAX_EXCERPT).collect();
            collector.unusable(number, reason, &excerpt);
        }
    })
}

fn import_line(fields: &Fields, line: u32, text: &str, collector: &mut Collector) -> Result<(), String> {
    let (Some(indicator), Some(kind)) = (fields.indicator, fields.kind) else {
        return Err("no line `#fields` before it names the columns `indicator` and `indicator_type`".to_owned());
    };
    let cells: Vec<&str> = text.splitn(64, '\t').collect();
    let cell = |at: usize| cells.get(at).map(|cell| cell.trim()).filter(|cell| !matches!(*cell, "" | "-"));
    let value = cell(indicator).ok_or("no indicator; columns are separated by tabs")?;
    let kind = cell(kind).ok_or("no type; columns are separated by tabs")?;
    let Some((_, declared)) = TYPES.iter().find(|(known, _)| *known == kind) else {
        return Err(format!("type `{kind}` cannot be looked for in events"));
    };
    let found = classify::typed(value, *declared)?;
    let text = |at: Option<usize>| at.and_then(cell).map(Into::into);
    let context = Context {
        name: text(fields.source),
        description: text(fields.description),
        reference: text(fields.url),
        ..Context::default()
    };
    collector.found(found, Facts { context, line, ..Facts::default() });
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::feed::{FeedFormat, FeedOptions, import};
    use crate::schema::FieldTable;

    #[test]
    fn types_and_descriptions_are_taken_and_other_types_listed() {
        let text = concat!(
            "# head\n#fields\tindicator\tindicator_type\tmeta.source\tmeta.desc\tmeta.url\n",
            "203.0.113.9\tIntel::ADDR\tlist\ta panel\thttps://example.org/1\n",
            "203.0.113.0/24\tIntel::SUBNET\tlist\t-\t-\n",
            "evil.com\tIntel::DOMAIN\tlist\n",
            "evil.com/a\tIntel::URL\tlist\n",
            "0cc175b9c0f1b6a831c399e269772661\tIntel::FILE_HASH\tlist\n",
            "bad@evil.com\tIntel::EMAIL\tlist\r\n",
            "Mallory\tIntel::USER_NAME\tlist\n",
            "86f7e437faa5a7fce15d1ddcb9eaea6f83e1ad2c\tIntel::CERT_HASH\tlist\n",
            "evil.com\tIntel::ADDR\tlist\n",
            "evil.com Intel::DOMAIN list\n",
            "#fields\tindicator_type\tindicator\n",
            "Intel::DOMAIN\tbad.org\n",
        );
        let table = FieldTable::embedded(true).unwrap();
        let import = import(text.as_bytes(), "x.intel", &FeedOptions::default(), &table).unwrap();
        assert_eq!(import.format, FeedFormat::Zeek);
        let values: Vec<_> = import.indicators.iter().map(|i| (i.line, i.terms[0].value.to_string())).collect();
        let expected = [
            (3, "203.0.113.9"),
            (4, "203.0.113.0/24"),
            (5, "evil.com"),
            (6, "evil.com/a"),
            (7, "0cc175b9c0f1b6a831c399e269772661"),
            (8, "bad@evil.com"),
            (9, "mallory"),
            (14, "bad.org"),
        ];
        assert_eq!(values, expected.map(|(line, value)| (line, value.to_owned())));
        let context = &import.indicators[0].context;
        assert_eq!((context.name.as_deref(), context.description.as_deref()), (Some("list"), Some("a panel")));
        assert_eq!(context.reference.as_deref(), Some("https://example.org/1"));
        assert_eq!(import.unusable.iter().map(|bad| bad.line).collect::<Vec<_>>(), [10, 11, 12]);
        assert!(import.unusable[0].reason.contains("Intel::CERT_HASH"), "{:?}", import.unusable[0]);
    }

    #[test]
    fn a_file_that_does_not_name_its_columns_is_listed_line_by_line() {
        let options = FeedOptions { format: Some(FeedFormat::Zeek), ..FeedOptions::default() };
        let import = import(b"evil.com\tIntel::DOMAIN\n", "x", &options, &FieldTable::embedded(true).unwrap()).unwrap();
        assert!(import.indicators.is_empty() && import.unusable[0].reason.contains("#fields"), "{import:?}");
    }
}

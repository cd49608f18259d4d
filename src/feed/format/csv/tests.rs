//! Tests of the CSV importer.

use crate::feed::{ColumnMapping, FeedFormat, FeedOptions, Import, import};
use crate::intel::indicator::{Confidence, Tlp};
use crate::observable::Kind;
use crate::schema::FieldTable;

fn with(text: &str, options: FeedOptions) -> Import {
    let options = FeedOptions { format: Some(FeedFormat::Csv), ..options };
    import(text.as_bytes(), "feed.csv", &options, &FieldTable::embedded(true).unwrap()).unwrap()
}

fn csv(text: &str) -> Import {
    with(text, FeedOptions::default())
}

/// `line kind value+value` of each indicator.
fn shown(import: &Import) -> Vec<String> {
    let values = |indicator: &crate::intel::indicator::Indicator| {
        let terms: Vec<_> = indicator.terms.iter().map(|term| term.value.to_string()).collect();
        format!("{} {} {}", indicator.line, indicator.terms[0].value.kind(), terms.join("+"))
    };
    import.indicators.iter().map(values).collect()
}

const MD5: &str = "0cc175b9c0f1b6a831c399e269772661";
const SHA1: &str = "86f7e437faa5a7fce15d1ddcb9eaea6f83e1ad2c";

#[test]
fn a_row_keeps_validity_and_context_and_equal_contexts_are_shared() {
    let import = csv(concat!(
        "IOC, Valid From, Valid Until, Kill chain, Confidence, TLP, Link, Comment\n",
        "evil[.]com,2024-01-01T00:00:00Z,2024-02-01T00:00:00Z,command-and-control (mitre-attack),85,amber,https://example.org/1,a panel\n",
        "bad.org,,,command-and-control (mitre-attack),85,amber,https://example.org/1,a panel\n",
    ));
    assert_eq!(shown(&import), ["2 domain evil.com", "3 domain bad.org"]);
    let [first, second] = import.indicators.as_slice() else { panic!() };
    assert_eq!(first.valid_from.unwrap().to_string(), "2024-01-01T00:00:00Z");
    assert_eq!(first.valid_until.unwrap().to_string(), "2024-02-01T00:00:00Z");
    assert_eq!(second.valid_until, None);
    assert!(std::sync::Arc::ptr_eq(&first.context, &second.context));
    let context = &first.context;
    assert_eq!((context.confidence, context.tlp), (Confidence::High, Some(Tlp::Amber)));
    assert_eq!(context.reference.as_deref(), Some("https://example.org/1"));
    assert_eq!(context.description.as_deref(), Some("a panel"));
    assert!(context.is_command_and_control());
}

#[test]
fn a_bound_that_is_no_time_makes_the_row_unusable_not_open() {
    let import = csv("IOC,Valid Until\nevil.com,soonish\nbad.org,never\n");
    assert_eq!(shown(&import), ["3 domain bad.org"]);
    assert!(import.unusable[0].reason.contains("soonish"), "{:?}", import.unusable);
}

#[test]
fn the_hashes_of_a_row_are_one_indicator_and_its_other_values_their_own() {
    let import = csv(&format!("MD5,SHA1,C2\n{MD5},{SHA1},evil.com\n"));
    assert_eq!(shown(&import), ["2 domain evil.com".to_owned(), format!("2 md5 {MD5}+{SHA1}")]);
    let import = csv(&format!("ioc\n\"{MD5},{SHA1}\"\n"));
    assert_eq!(shown(&import), [format!("2 md5 {MD5}+{SHA1}")]);
}

#[test]
fn two_hashes_of_one_kind_are_two_files() {
    let other = MD5.replace('0', "1");
    let import = csv(&format!("Hash,Payload Hash\n{MD5},{other}\n"));
    assert_eq!(shown(&import), [format!("2 md5 {MD5}"), format!("2 md5 {other}")]);
}

#[test]
fn a_type_column_is_honoured() {
    let import = csv(concat!(
        "type,value\n",
        "domain,localhost\n",
        "domain,http://evil.com/\n",
        "user,John Doe\n",
        "user,bad@evil.com\n",
        "ipv4-addr,203.0.113.9:443\n",
        "cidr,203.0.113.9/24\n",
        "filename,evil.com\n",
        "indicator,evil.com\n",
    ));
    assert_eq!(
        shown(&import),
        [
            "2 domain localhost",
            "4 user john doe",
            "5 user bad@evil.com",
            "6 ip 203.0.113.9",
            "7 ip 203.0.113.0/24",
            "9 domain evil.com"
        ]
    );
    assert_eq!(import.indicators[3].port, Some(443));
    let lines: Vec<_> = import.unusable.iter().map(|unusable| unusable.line).collect();
    assert_eq!(lines, [3, 8]);
}

#[test]
fn a_type_does_not_bind_a_column_of_hashes() {
    let import = csv(&format!("MD5,Type,C2\n{MD5},DOMAIN,evil.com\n"));
    assert_eq!(shown(&import), ["2 domain evil.com".to_owned(), format!("2 md5 {MD5}")]);
}

#[test]
fn a_hash_of_another_kind_than_its_type_is_a_bad_line() {
    let import = csv(&format!("type,hash\nmd5,{SHA1}\nfile,{SHA1}\n"));
    assert_eq!(shown(&import), [format!("3 sha1 {SHA1}")]);
    assert!(import.unusable[0].reason.contains("`md5`"), "{:?}", import.unusable);
}

#[test]
fn words_beside_a_typed_value_are_no_values() {
    let import = csv("date,type,c2,family\n2024-01-01,domain,evil.com,emotet\n2024-01-01,user,bob,emotet\n");
    assert_eq!(shown(&import), ["2 domain evil.com", "3 user bob"]);
    assert_eq!(shown(&csv("name,type,value\npanel,domain,localhost\n")), ["2 domain localhost"]);
    assert_eq!(shown(&csv("type,name\nuser,alice\n")), ["2 user alice"]);
}

#[test]
fn a_stix_pattern_in_a_cell_is_compiled() {
    let import = csv("type,name,pattern\nindicator,a panel,[domain-name:value = 'evil.com']\nindicator,b,[oops\n");
    assert_eq!(shown(&import), ["2 domain evil.com"]);
    assert_eq!(import.indicators[0].context.name.as_deref(), Some("a panel"));
    assert_eq!(import.unusable.len(), 1);
}

#[test]
fn a_header_in_a_comment_and_other_delimiters_are_understood() {
    let import = csv(
        "# Feed of the day\n# \"first_seen\",\"dst_ip\",\"reference\"\n\"2024-01-01\",\"203.0.113.9\",\"https://example.org/\"\n",
    );
    assert_eq!(shown(&import), ["3 ip 203.0.113.9"]);
    assert_eq!(shown(&csv("ioc;link\nevil.com;http://a.com/\n")), ["2 domain evil.com"]);
    assert_eq!(shown(&csv("ioc\tlink\nevil.com\thttp://a.com/\n")), ["2 domain evil.com"]);
    assert_eq!(shown(&csv("evil.com\nbad.org\n")), ["1 domain evil.com", "2 domain bad.org"]);
}

#[test]
fn a_mapping_restricts_the_search_to_its_value_column() {
    let columns = ColumnMapping { value: Some("bad".into()), ..ColumnMapping::default() };
    let import = with("good,bad\nexample.org,evil.com\n", FeedOptions { columns, ..FeedOptions::default() });
    assert_eq!(shown(&import), ["2 domain evil.com"]);
}

#[test]
fn the_default_kind_stands_in_for_a_type_column() {
    let options = FeedOptions { default_kind: Some(Kind::User), ..FeedOptions::default() };
    assert_eq!(shown(&with("account,team\nJohn Doe,Blue\n", options)), ["2 user john doe"]);
}

#[test]
fn a_feed_may_opt_in_to_subdomains() {
    let options = FeedOptions { subdomains: true, ..FeedOptions::default() };
    let import = with("ioc,x\nevil.com,\n", options);
    assert!(matches!(
        import.indicators[0].terms[0].value,
        crate::intel::indicator::TermValue::Domain { scope: crate::intel::indicator::NameScope::AndBelow, .. }
    ));
}

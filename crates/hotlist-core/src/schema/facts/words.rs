//! The words of events that say which way a connection went and what was decided about an event: `words.csv`.

use std::collections::HashMap;
use std::sync::LazyLock;

/// The meaning of a word of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Meaning {
    /// It was let pass, or answered.
    Allowed,
    /// It was blocked, or refused.
    Denied,
    /// Nobody answered.
    Unanswered,
    /// The file was moved away, cleaned or deleted.
    Quarantined,
    /// The connection came from outside.
    Inbound,
    /// The connection went outside.
    Outbound,
    /// The event is about a process; together with [`Meaning::Start`], about one that was started.
    Process,
    /// The event is about a start.
    Start,
    /// The event is one of Sysmon; together with [`Meaning::SysmonFirst`], about a process that was started.
    Sysmon,
    /// The number of the event is that of a process that was started, if it is one of Sysmon.
    SysmonFirst,
}

impl Meaning {
    /// Every meaning, with the word of the table.
    const WORDS: [(&'static str, Meaning); 10] = [
        ("allowed", Meaning::Allowed),
        ("denied", Meaning::Denied),
        ("unanswered", Meaning::Unanswered),
        ("quarantined", Meaning::Quarantined),
        ("inbound", Meaning::Inbound),
        ("outbound", Meaning::Outbound),
        ("process", Meaning::Process),
        ("start", Meaning::Start),
        ("sysmon", Meaning::Sysmon),
        ("sysmon-1", Meaning::SysmonFirst),
    ];

    fn parse(word: &str) -> Option<Meaning> {
        Meaning::WORDS.iter().find(|(known, _)| *known == word).map(|(_, meaning)| *meaning)
    }
}

/// The table.
#[derive(Debug, Default)]
pub(super) struct Words {
    /// Paths with words of their own, and these in lower case.
    paths: Vec<(String, Dictionary)>,
    /// The words of every field that says what was decided or which way it went.
    common: Dictionary,
}

#[derive(Debug, Default)]
struct Dictionary {
    words: HashMap<Box<[u8]>, Meaning>,
    /// The meaning of any other word.
    other: Option<Meaning>,
}

/// The longest word of the table, and of a value that is looked up in it.
const LONGEST: usize = 48;

static SHIPPED: LazyLock<Words> = LazyLock::new(|| read(include_str!("words.csv")).0);

/// Reads the table, and lists the rows that it cannot read.
fn read(text: &str) -> (Words, Vec<String>) {
    let (mut words, mut wrong) = (Words::default(), Vec::new());
    let mut reader = csv::ReaderBuilder::new().comment(Some(b'#')).from_reader(text.as_bytes());
    for record in reader.records() {
        let row = match &record {
            Ok(record) => (record.get(0).unwrap_or(""), record.get(1).unwrap_or(""), record.get(2).unwrap_or("")),
            Err(error) => {
                wrong.push(error.to_string());
                continue;
            }
        };
        let (path, word, meaning) = row;
        let Some(meaning) = Meaning::parse(meaning).filter(|_| word.len() <= LONGEST) else {
            wrong.push(format!("{path},{word},{meaning}"));
            continue;
        };
        let dictionary = match (path, words.number(path)) {
            ("*", _) => &mut words.common,
            (_, Some(number)) => &mut words.paths[number].1,
            (_, None) => {
                words.paths.push((path.to_owned(), Dictionary::default()));
                let last = words.paths.len() - 1;
                &mut words.paths[last].1
            }
        };
        let is_new = match word {
            "*" => dictionary.other.replace(meaning).is_none(),
            word => dictionary.words.insert(word.to_ascii_lowercase().into_bytes().into(), meaning).is_none(),
        };
        if !is_new {
            wrong.push(format!("{path},{word} is there twice"));
        }
    }
    (words, wrong)
}

impl Words {
    /// The table that is shipped.
    pub(super) fn shipped() -> &'static Words {
        &SHIPPED
    }

    /// The paths that have words of their own, by their number.
    pub(super) fn paths(&self) -> impl Iterator<Item = &str> {
        self.paths.iter().map(|(path, _)| path.as_str())
    }

    /// The number of a path that has words of its own.
    pub(super) fn number(&self, path: &str) -> Option<usize> {
        self.paths.iter().position(|(known, _)| known == path)
    }

    /// The meaning of a word at a path with words of its own, at a field that has the common words, or both.
    pub(super) fn meaning(&self, path: Option<usize>, has_common: bool, word: &[u8]) -> Option<Meaning> {
        let text = word.trim_ascii();
        let mut lower = [0; LONGEST];
        let word = lower.get_mut(..text.len()).map(|lower| {
            lower.copy_from_slice(text);
            lower.make_ascii_lowercase();
            &*lower
        });
        let of = |dictionary: &Dictionary| {
            let known = word.and_then(|word| dictionary.words.get(word)).copied();
            known.or(dictionary.other.filter(|_| !text.is_empty()))
        };
        let own = path.and_then(|number| self.paths.get(number)).and_then(|(_, dictionary)| of(dictionary));
        own.or_else(|| has_common.then(|| of(&self.common)).flatten())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_read_once() {
        let (words, wrong) = read(include_str!("words.csv"));
        assert_eq!(wrong, [""; 0]);
        assert!(words.common.other.is_none(), "any word at any field would mean something");
        assert!(words.paths.len() > 30);
        for row in ["*,x,none\n", "*,allow,denied\n*,ALLOW,denied\n", "a,b\n"] {
            assert_ne!(read(&format!("path,word,meaning\n{row}")).1, [""; 0], "{row}");
        }
    }

    #[test]
    fn own_words_count_before_common_ones_and_case_does_not() {
        let words = Words::shipped();
        let at = |path: &str, word: &str| words.meaning(words.number(path), true, word.as_bytes());
        assert_eq!(at("event.type", "start"), Some(Meaning::Start));
        assert_eq!(at("event.type", "DENIED"), Some(Meaning::Denied));
        assert_eq!(at("event.type", "egress"), Some(Meaning::Outbound), "a common word");
        assert_eq!(at("conn_state", "S0"), Some(Meaning::Unanswered));
        assert_eq!(at("errorCode", "AccessDenied"), Some(Meaning::Denied), "any word");
        assert_eq!(at("errorCode", " "), None);
        assert_eq!(at("protoPayload.status.code", "0"), Some(Meaning::Allowed));
        assert_eq!(at("protoPayload.status.code", "7"), Some(Meaning::Denied));
        assert_eq!(at("Initiated", "true"), Some(Meaning::Outbound));
        let long = "a".repeat(10_000);
        assert_eq!(at("conn_state", &long), None);
        assert_eq!(at("errorCode", &long), Some(Meaning::Denied));
        assert_eq!(words.meaning(None, false, b"denied"), None);
    }
}

//! Rules: which indicators can hit, under which names, and how severe their hits are at most.
//!
//! A rule selects indicators by feed or collection, kind, confidence and kill chain phase. The rules are asked only for
//! confirmed findings, so they cost nothing where nothing is found.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::intel::indicator::{Confidence, Context, Feed, Origin, folded_phase};
use crate::observable::Kind;
use crate::severity_scale::Severity;

/// An enabled rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The id, which is in each hit and stays the same when the rule changes.
    pub id: Arc<str>,
    /// A name for people.
    pub name: Option<String>,
    /// A description for people.
    pub description: Option<String>,
    /// The feeds that it selects.
    pub feeds: FeedNames,
    /// The collections that it selects.
    pub collections: FeedNames,
    /// The kinds of indicators that it selects. Empty: all.
    pub kinds: Vec<IndicatorKind>,
    /// The least confidence that it selects; [`Confidence::NotSpecified`] selects any.
    pub min_confidence: Confidence,
    /// Kill chain phases, of which an indicator needs one. Empty: it needs none. `C2` and `command-and-control` are the
    /// same, and so are `_`, `-` and a blank.
    pub kill_chain_phases: Vec<String>,
    /// The most severe that a hit can be of which this is the first rule.
    pub max_severity: Severity,
}

impl Rule {
    /// A rule that selects every feed and collection.
    pub fn of_everything(id: &str) -> Rule {
        Rule {
            id: id.into(),
            name: None,
            description: None,
            feeds: FeedNames::All,
            collections: FeedNames::All,
            kinds: Vec::new(),
            min_confidence: Confidence::NotSpecified,
            kill_chain_phases: Vec::new(),
            max_severity: Severity::Critical,
        }
    }

    /// Whether it names a feed or collection.
    pub fn names(&self, feed: &Feed) -> bool {
        match feed.origin {
            Origin::Feed => self.feeds.has(&feed.name),
            Origin::Collection => self.collections.has(&feed.name),
        }
    }

    /// The names that it gives and that no feed or collection has.
    pub fn missing_names(&self, feeds: &[Feed]) -> Vec<&str> {
        let of_origin = |origin| feeds.iter().filter(move |feed| feed.origin == origin);
        let names = [(&self.feeds, Origin::Feed), (&self.collections, Origin::Collection)];
        let missing = names.into_iter().flat_map(|(names, origin)| {
            let listed = match names {
                FeedNames::All => None,
                FeedNames::Of(names) => Some(names.iter().map(String::as_str)),
            };
            listed.into_iter().flatten().filter(move |name| !of_origin(origin).any(|feed| feed.name == *name))
        });
        missing.collect()
    }
}

/// Names of feeds or of collections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FeedNames {
    /// All of them.
    All,
    /// Those with these names.
    Of(BTreeSet<String>),
}

impl FeedNames {
    fn has(&self, name: &str) -> bool {
        match self {
            FeedNames::All => true,
            FeedNames::Of(names) => names.contains(name),
        }
    }
}

/// The kind of an indicator: that of its value, or a pattern that needs several values together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IndicatorKind {
    /// A value of a kind.
    Of(Kind),
    /// A pattern that needs several values together.
    Pattern,
}

impl IndicatorKind {
    /// The kinds that a word of the configuration means: a kind, `pattern`, or `hash` for every kind of hash.
    pub fn of_word(word: &str) -> Option<Vec<IndicatorKind>> {
        const HASHES: [Kind; 5] = [Kind::Md5, Kind::Sha1, Kind::Sha256, Kind::Sha512, Kind::Ssdeep];
        match word {
            "pattern" => Some(vec![IndicatorKind::Pattern]),
            "hash" => Some(HASHES.map(IndicatorKind::Of).to_vec()),
            word => Kind::parse(word).map(|kind| vec![IndicatorKind::Of(kind)]),
        }
    }
}

/// The rules that select the indicator of a hit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    first: Arc<str>,
    ids: Box<[Arc<str>]>,
    max_severity: Severity,
}

impl Selection {
    /// The id of the first rule, in the order of the configuration.
    pub fn first(&self) -> &Arc<str> {
        &self.first
    }

    /// The ids of all rules, in the order of the configuration.
    pub fn ids(&self) -> &[Arc<str>] {
        &self.ids
    }

    /// The most severe that the hit can be.
    pub fn max_severity(&self) -> Severity {
        self.max_severity
    }

    /// The bytes of memory that it takes.
    pub fn bytes(&self) -> usize {
        size_of::<Selection>() + size_of_val(&*self.ids)
    }
}

/// The reason that no rule selects an indicator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotSelected {
    /// No rule has its feed or collection, its kind and its kill chain phase.
    NoRule,
    /// A rule would select it, were its confidence higher.
    Confidence,
}

/// The enabled rules, in the order of the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules(Vec<Compiled>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Compiled {
    rule: Rule,
    phases: Vec<String>,
    /// The selection where no other rule selects.
    alone: Arc<Selection>,
}

impl Rules {
    /// Compiles rules.
    pub fn new(rules: impl IntoIterator<Item = Rule>) -> Rules {
        let compile = |rule: Rule| Compiled {
            phases: rule.kill_chain_phases.iter().map(|phase| folded_phase(phase)).collect(),
            alone: Arc::new(Selection {
                first: Arc::clone(&rule.id),
                ids: [Arc::clone(&rule.id)].into(),
                max_severity: rule.max_severity,
            }),
            rule,
        };
        Rules(rules.into_iter().map(compile).collect())
    }

    /// Whether no rule is enabled: nothing can hit.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Every rule, in the order of the configuration.
    pub fn iter(&self) -> impl Iterator<Item = &Rule> {
        self.0.iter().map(|compiled| &compiled.rule)
    }

    /// Whether a rule names a feed or collection.
    pub fn names(&self, feed: &Feed) -> bool {
        self.iter().any(|rule| rule.names(feed))
    }

    /// The rules that select an indicator.
    ///
    /// # Errors
    /// No rule selects it.
    pub fn select(&self, feed: &Feed, kind: IndicatorKind, context: &Context) -> Result<Arc<Selection>, NotSelected> {
        let mut phases: Option<Vec<String>> = None;
        let mut has_phase = |wanted: &[String]| {
            let folded = || context.kill_chain_phases.iter().map(|phase| folded_phase(phase)).collect();
            wanted.is_empty() || phases.get_or_insert_with(folded).iter().any(|phase| wanted.contains(phase))
        };
        let (mut selected, mut refused): (Vec<&Compiled>, _) = (Vec::new(), NotSelected::NoRule);
        for compiled in &self.0 {
            let Compiled { rule, phases: wanted, .. } = compiled;
            if !rule.names(feed) || !(rule.kinds.is_empty() || rule.kinds.contains(&kind)) || !has_phase(wanted) {
                continue;
            }
            if context.confidence < rule.min_confidence {
                refused = NotSelected::Confidence;
            } else {
                selected.push(compiled);
            }
        }
        match selected.as_slice() {
            [] => Err(refused),
            [only] => Ok(Arc::clone(&only.alone)),
            [first, ..] => {
                let ids = selected.iter().map(|compiled| Arc::clone(&compiled.rule.id)).collect();
                let Rule { id, max_severity, .. } = &first.rule;
                Ok(Arc::new(Selection { first: Arc::clone(id), ids, max_severity: *max_severity }))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantee: the first rule gives the name and the severity, and all rules that select are listed.
    #[test]
    fn the_first_rule_decides_and_all_are_listed() {
        let rules = Rules::new([
            Rule { kinds: vec![IndicatorKind::Pattern], ..Rule::of_everything("patterns") },
            Rule { max_severity: Severity::Low, ..Rule::of_everything("b") },
            Rule::of_everything("a"),
        ]);
        let selected = rules.select(&Feed::named("f"), IndicatorKind::Of(Kind::Ip), &Context::default()).unwrap();
        assert_eq!((&**selected.first(), selected.max_severity()), ("b", Severity::Low));
        assert_eq!(selected.ids().iter().map(|id| &**id).collect::<Vec<_>>(), ["b", "a"]);
        let pattern = rules.select(&Feed::named("f"), IndicatorKind::Pattern, &Context::default()).unwrap();
        assert_eq!(&**pattern.first(), "patterns");
    }

    /// Guarantee: every kind has a word.
    #[test]
    fn every_kind_has_a_word() {
        for kind in Kind::ALL {
            assert_eq!(IndicatorKind::of_word(kind.as_str()), Some(vec![IndicatorKind::Of(kind)]));
        }
        assert_eq!(IndicatorKind::of_word("hash").map(|kinds| kinds.len()), Some(5));
        assert_eq!(IndicatorKind::of_word("auto"), None);
    }
}

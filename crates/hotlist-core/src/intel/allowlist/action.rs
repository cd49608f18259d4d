//! The action of a list on a hit, and the default action.

use std::fmt;

/// The treatment of a hit whose value a list holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// It is not a hit.
    Suppress,
    /// It stays a hit, and names the list.
    Annotate,
}

/// The marks in the name of a list that make its entries shared rather than harmless: many people use the same cloud,
/// and some of them are attackers. A word counts wherever it stands in the name, one between blanks only as a whole
/// word. `docs/allowlists.md` has the same table.
const SHARED: [(&str, &[&str]); 5] = [
    (
        "cloud",
        &[
            "cloud",
            " aws ",
            "amazon",
            "azure",
            " gcp ",
            "office 365",
            "github",
            "zscaler",
            "digitalocean",
            "linode",
            "hetzner",
            " ovh ",
            "oracle",
        ],
    ),
    ("CDN", &[" cdn ", "content delivery", "akamai", "fastly"]),
    ("dynamic DNS", &["dynamic dns", "dyndns", " ddns "]),
    ("disposable mail", &["disposable", "temporary mail", "temporary email", "temporary e mail"]),
    ("sinkhole", &["sinkhole"]),
];

/// The category of lists that say what something is, not that it is harmless.
const KNOWN_IDENTIFIER: &str = "known identifier";

impl Action {
    /// The word of the configuration, in metrics and in `explain`.
    pub fn as_str(self) -> &'static str {
        match self {
            Action::Suppress => "suppress",
            Action::Annotate => "annotate",
        }
    }

    /// The default action of a list.
    pub fn default_of(name: &str, category: Option<&str>) -> Action {
        if category.is_some_and(|category| category.trim().eq_ignore_ascii_case(KNOWN_IDENTIFIER)) {
            return Action::Annotate;
        }
        let mut words = String::from(" ");
        for word in name.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()) {
            words.push_str(&word.to_lowercase());
            words.push(' ');
        }
        match SHARED.iter().flat_map(|(_, marks)| marks.iter()).any(|mark| words.contains(mark)) {
            true => Action::Annotate,
            false => Action::Suppress,
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_infrastructure_annotates_and_the_rest_suppresses() {
        for name in [
            "List of known Cloudflare IP ranges",
            "List of known Amazon AWS IP address ranges",
            "List of known GCP (Google Cloud Platform) IP address ranges",
            "Our own CDN",
            "List of known dynamic DNS domains",
            "List of disposable email domains",
            "List of known sinkholes",
        ] {
            assert_eq!(Action::default_of(name, Some("False positive")), Action::Annotate, "{name}");
        }
        for name in ["List of known IPv4 public DNS resolvers", "Lawson's domains", "Top 1000 websites", ""] {
            assert_eq!(Action::default_of(name, None), Action::Suppress, "{name}");
        }
        assert_eq!(Action::default_of("Exit nodes", Some("Known identifier")), Action::Annotate);
    }

    #[test]
    fn the_reference_has_the_same_table() {
        for (what, marks) in SHARED {
            let marks: Vec<String> = marks.iter().map(|mark| format!("`{}`", mark.trim())).collect();
            let row = format!("| {what} | {} |", marks.join(", "));
            assert!(
                include_str!("../../../../../docs/allowlists.md").contains(&row),
                "docs/allowlists.md should have: {row}"
            );
        }
    }
}

//! The scale of severities, which the table of severities and rules share.

/// How severe a hit is, least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Nothing came of it.
    Informational,
    /// Worth knowing.
    Low,
    /// To be checked.
    Medium,
    /// A machine of ours talked to what is listed.
    High,
    /// A listed program ran on a machine of ours.
    Critical,
}

impl Severity {
    /// Every severity, least first.
    pub const ALL: [Severity; 5] =
        [Severity::Informational, Severity::Low, Severity::Medium, Severity::High, Severity::Critical];

    /// The word in enrichments, metrics, the table and the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Informational => "informational",
            Severity::Low => "low",
            Severity::Medium => "medium",
            Severity::High => "high",
            Severity::Critical => "critical",
        }
    }

    /// The inverse of [`Severity::as_str`].
    pub fn parse(word: &str) -> Option<Severity> {
        Severity::ALL.into_iter().find(|severity| severity.as_str() == word)
    }

    /// One step less; [`Severity::Informational`] stays.
    pub fn lower(self) -> Severity {
        match self {
            Severity::Informational | Severity::Low => Severity::Informational,
            Severity::Medium => Severity::Low,
            Severity::High => Severity::Medium,
            Severity::Critical => Severity::High,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn severity_steps_down_to_informational() {
        let lowered = Severity::ALL.map(Severity::lower);
        let expected =
            [Severity::Informational, Severity::Informational, Severity::Low, Severity::Medium, Severity::High];
        assert_eq!(lowered, expected);
        assert!(Severity::ALL.is_sorted());
    }
}

//! The status of a row: words such as `inactive`, which must never be read as an indicator.

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum RowStatus {
    Counts,
    /// Its feed withdrew it.
    Revoked,
    /// It is none; why.
    None(String),
}

/// Actions that let what they name pass.
const PASSING: &[&str] = &[
    "allow",
    "allowed",
    "allowlist",
    "allowlisted",
    "whitelist",
    "whitelisted",
    "permit",
    "permitted",
    "pass",
    "accept",
    "accepted",
    "ignore",
    "ignored",
    "exclude",
    "excluded",
    "exception",
    "exempt",
    "trust",
    "trusted",
    "bypass",
    "safe",
    "benign",
    "clean",
    "good",
    "goodware",
    "harmless",
    "legitimate",
    "no_action",
    "noaction",
    "suppress",
    "unblock",
];

/// Words of what does not count any more.
const GONE: &[&str] = &[
    "revoked",
    "deleted",
    "removed",
    "withdrawn",
    "retracted",
    "inactive",
    "disabled",
    "expired",
    "deprecated",
    "retired",
    "false positive",
    "falsepositive",
    "false_positive",
    "false-positive",
    "fp",
    "rejected",
    "archived",
    "obsolete",
    "invalid",
    "dead indicator",
    "whitelisted",
    "allowlisted",
    "benign",
    "not malicious",
    "falsepos",
    "cancelled",
    "canceled",
    "suppressed",
];

/// A flag; `None` when the cell is none.
pub(super) fn flag(cell: &str) -> Option<bool> {
    let word = cell.trim().trim_matches(['"', '\'']).to_lowercase();
    match word.as_str() {
        "1" | "true" | "t" | "yes" | "y" | "on" | "x" | "ja" | "oui" | "si" | "sí" | "sim" | "да" | "active"
        | "enabled" => Some(true),
        "0" | "false" | "f" | "no" | "n" | "off" | "nein" | "non" | "não" | "нет" | "inactive" | "disabled" | "0.0" => {
            Some(false)
        }
        _ => None,
    }
}

/// Of a cell that says whether it is revoked. What cannot be read must not become an indicator that counts.
pub(super) fn revoked(cell: &str) -> RowStatus {
    match flag(cell) {
        Some(true) => RowStatus::Revoked,
        Some(false) => RowStatus::Counts,
        // When it was revoked.
        None if super::when::instant(cell, None).is_some() || GONE.contains(&lower(cell).as_str()) => {
            RowStatus::Revoked
        }
        None => RowStatus::None(format!("revoked `{}` is neither true nor false", shown(cell))),
    }
}

/// Of a cell that says whether it is meant for detection.
pub(super) fn detect(cell: &str) -> RowStatus {
    match flag(cell) {
        Some(true) => RowStatus::Counts,
        Some(false) => RowStatus::None("`to_ids` is not set: it informs, and is not meant for detection".to_owned()),
        None => RowStatus::None(format!("to_ids `{}` is neither true nor false", shown(cell))),
    }
}

/// Of a cell that says what to do with events.
pub(super) fn action(cell: &str) -> RowStatus {
    match PASSING.contains(&lower(cell).as_str()) {
        true => RowStatus::None(format!("action `{}`: an exception, no indicator", shown(cell))),
        false => RowStatus::Counts,
    }
}

/// Of a cell that says its standing. Words about a server (`offline`) say nothing of the indicator.
pub(super) fn status(cell: &str) -> RowStatus {
    match GONE.contains(&lower(cell).as_str()) {
        true => RowStatus::Revoked,
        false => RowStatus::Counts,
    }
}

/// Words of a classification that mean "not a threat".
const HARMLESS: &[&str] = &[
    "benign",
    "clean",
    "good",
    "goodware",
    "harmless",
    "known good",
    "legitimate",
    "not malicious",
    "non-malicious",
    "whitelist",
    "whitelisted",
    "allowlist",
    "allowlisted",
    "false positive",
];

/// Of a cell that says what kind of threat it is.
pub(super) fn threat(cell: &str) -> RowStatus {
    match HARMLESS.contains(&lower(cell).as_str()) {
        true => RowStatus::None(format!("its feed calls it `{}`: no indicator", shown(cell))),
        false => RowStatus::Counts,
    }
}

/// Of a cell that says whether it counts.
pub(super) fn active(cell: &str) -> RowStatus {
    match flag(cell) {
        Some(false) => RowStatus::Revoked,
        _ => status(cell),
    }
}

fn lower(cell: &str) -> String {
    cell.trim().trim_matches(['"', '\'']).trim().to_lowercase()
}

fn shown(cell: &str) -> String {
    cell.trim().chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_count_is_told_from_what_does() {
        for cell in ["true", "1", "Yes", "2024-01-01", "revoked"] {
            assert_eq!(revoked(cell), RowStatus::Revoked, "{cell}");
        }
        for cell in ["False", "0", "no"] {
            assert_eq!(revoked(cell), RowStatus::Counts, "{cell}");
        }
        assert!(matches!(revoked("perhaps"), RowStatus::None(reason) if reason.contains("perhaps")));
        assert!(matches!(detect("0"), RowStatus::None(_)));
        assert_eq!(detect("1"), RowStatus::Counts);
        for cell in ["Allow", "whitelist", "Permit", "benign"] {
            assert!(matches!(action(cell), RowStatus::None(_)), "{cell}");
        }
        for cell in ["Block", "BlockAndRemediate", "Audit", "alert", "detect"] {
            assert_eq!(action(cell), RowStatus::Counts, "{cell}");
        }
        assert_eq!(status("False Positive"), RowStatus::Revoked);
        assert_eq!(status("offline"), RowStatus::Counts);
        assert_eq!(
            (active("false"), active("true"), active("active")),
            (RowStatus::Revoked, RowStatus::Counts, RowStatus::Counts)
        );
    }
}

//! How severe a hit is: by what was found, which way the connection went, what was decided about the event, how
//! confident the indicator is, and how severe its rule lets a hit be. The table is `severity.csv`.
//!
//! The loudest complaint about lists of indicators is the alert for an inbound scan that a firewall refused. So a hit is not
//! severe because its indicator is bad, but because of what happened.

use std::cmp::Reverse;
use std::sync::LazyLock;

use crate::circumstances::{Decision, Direction};
use crate::intel::indicator::Confidence;
use crate::intel::snapshot::Snapshot;
use crate::matcher::{Hit, rank};
use crate::observable::Kind;
use crate::policy::EventFacts;
use crate::schema::Role;

pub use crate::severity_scale::Severity;

/// The kinds of findings that the table distinguishes.
#[derive(Clone, Copy)]
enum Found {
    File,
    Connection,
    Other,
}

impl Found {
    const ALL: [Found; 3] = [Found::File, Found::Connection, Found::Other];

    fn of_kind(kind: Kind) -> Found {
        match kind {
            Kind::Md5 | Kind::Sha1 | Kind::Sha256 | Kind::Sha512 | Kind::Ssdeep | Kind::Path => Found::File,
            Kind::Ip | Kind::Domain | Kind::Url => Found::Connection,
            Kind::Email | Kind::User | Kind::Text | Kind::Name | Kind::DnsType | Kind::Number | Kind::Time => {
                Found::Other
            }
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Found::File => "file",
            Found::Connection => "connection",
            Found::Other => "other",
        }
    }
}

const DIRECTIONS: [Option<Direction>; 3] = [None, Some(Direction::Inbound), Some(Direction::Outbound)];
const DECISIONS: usize = Decision::ALL.len();

/// The table, one severity for each combination.
static TABLE: LazyLock<Vec<Severity>> = LazyLock::new(|| read(include_str!("severity.csv")).0);

/// Reads the table, and lists the combinations without a row and the rows that cannot be read.
fn read(text: &str) -> (Vec<Severity>, Vec<String>) {
    let mut reader = csv::ReaderBuilder::new().comment(Some(b'#')).from_reader(text.as_bytes());
    let (mut rows, mut wrong) = (Vec::new(), Vec::new());
    for record in reader.records().flatten() {
        let cells: Vec<String> = record.iter().map(str::to_owned).collect();
        match (<[String; 4]>::try_from(cells), record.get(3).and_then(Severity::parse)) {
            (Ok(cells), Some(severity)) => rows.push((cells, severity)),
            _ => wrong.push(format!("{record:?}")),
        }
    }
    let mut table = Vec::new();
    for found in Found::ALL {
        for direction in DIRECTIONS {
            for decision in Decision::ALL {
                let words = [found.as_str(), direction.map_or("unknown", Direction::as_str), decision.as_str()];
                let fits =
                    |cells: &[String; 4]| cells.iter().zip(words).all(|(cell, word)| cell == "*" || cell == word);
                let row = rows.iter().find(|(cells, _)| fits(cells));
                if row.is_none() {
                    wrong.push(words.join(","));
                }
                table.push(row.map_or(Severity::Medium, |(_, severity)| *severity));
            }
        }
    }
    (table, wrong)
}

fn in_table(found: Found, direction: Option<Direction>, decision: Decision) -> Severity {
    let direction = match direction {
        None => 0,
        Some(Direction::Inbound) => 1,
        Some(Direction::Outbound) => 2,
    };
    let at = (found as usize * DIRECTIONS.len() + direction) * DECISIONS + decision as usize;
    TABLE.get(at).copied().unwrap_or(Severity::Medium)
}

/// Orders hits of an event when not all of them fit: the most severe first, and then as [`rank`] does.
pub fn order(snapshot: &Snapshot, hit: &Hit, facts: &EventFacts) -> (Reverse<Severity>, (Reverse<Confidence>, bool)) {
    (Reverse(severity(snapshot, hit, facts)), rank(snapshot, hit))
}

/// How severe a hit in an event with these facts is.
pub fn severity(snapshot: &Snapshot, hit: &Hit, facts: &EventFacts) -> Severity {
    let (role, circumstances) = (snapshot.table().get(hit.field).role, &facts.circumstances);
    let mut severity = in_table(Found::of_kind(hit.kind), circumstances.direction(role), circumstances.decision());
    let confidence = snapshot.indicator(hit.posting.indicator).context.confidence;
    if matches!(confidence, Confidence::None | Confidence::Low) {
        severity = severity.lower();
    }
    // A text that somebody wrote is weaker evidence than the observation of a sensor.
    let most = match role {
        Role::Forwarded => Severity::Low,
        _ if hit.in_text.is_some() => Severity::Medium,
        _ => Severity::Critical,
    };
    // The scale of its rule, without rules the whole scale.
    let of_rule = hit.selection.as_ref().map_or(Severity::Critical, |selection| selection.max_severity());
    severity.min(most).min(of_rule)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_combination_has_a_row_and_every_row_is_read() {
        let (table, wrong) = read(include_str!("severity.csv"));
        assert_eq!(wrong, [""; 0]);
        assert_eq!(table.len(), Found::ALL.len() * DIRECTIONS.len() * DECISIONS);
        for (at, decision) in Decision::ALL.into_iter().enumerate() {
            assert_eq!(decision as usize, at, "the table is indexed by it");
        }
        let (_, wrong) = read("found,direction,decision,severity\nfile,*,*,bad\nconnection,*,*,low\n");
        assert_eq!(wrong.len(), 1 + 2 * DIRECTIONS.len() * DECISIONS);
    }
}

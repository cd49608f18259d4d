//! The fields that name the machine, workload or account that an event is about: `assets.csv`.

use std::collections::HashMap;
use std::sync::LazyLock;

use crate::observable::Kind;
use crate::schema::{Field, FieldKind, Role};

/// What a field says of the asset of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AssetPart {
    /// The id of the host.
    HostId,
    /// The name of the host.
    HostName,
    /// An address of the host.
    HostAddress,
    /// The address of an endpoint whose side is not known.
    Endpoint,
    /// Another machine saw the event.
    Observer,
    /// The cluster of the workload.
    Cluster,
    /// The namespace of the workload.
    Namespace,
    /// The name of the workload.
    Workload,
    /// The name of a replica set or a job; its controller is the workload.
    ReplicaSet,
    /// The name of a pod; its controller is the workload.
    Pod,
    /// The kind of the object that the event is about.
    ObjectKind,
    /// The name of the object that the event is about.
    ObjectName,
    /// The account.
    User,
}

impl AssetPart {
    /// The parts that rows name, with their words.
    const WORDS: [(&'static str, AssetPart); 12] = [
        ("host.id", AssetPart::HostId),
        ("host.name", AssetPart::HostName),
        ("endpoint", AssetPart::Endpoint),
        ("observer", AssetPart::Observer),
        ("cluster", AssetPart::Cluster),
        ("namespace", AssetPart::Namespace),
        ("workload", AssetPart::Workload),
        ("replicaset", AssetPart::ReplicaSet),
        ("pod", AssetPart::Pod),
        ("object_kind", AssetPart::ObjectKind),
        ("object_name", AssetPart::ObjectName),
        ("user", AssetPart::User),
    ];

    fn parse(word: &str) -> Option<AssetPart> {
        AssetPart::WORDS.iter().find(|(known, _)| *known == word).map(|(_, part)| *part)
    }
}

/// A field that says something of the asset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AssetField {
    /// What it says.
    pub part: AssetPart,
    /// Of several fields that say the same, the one with the lowest rank counts.
    pub rank: u32,
}

impl AssetField {
    /// The same field of the resource around a record: every field of the record counts before it.
    #[must_use]
    pub fn of_resource(self) -> AssetField {
        AssetField { rank: self.rank | OF_RESOURCE, ..self }
    }
}

/// No row has so high a rank.
const OF_RESOURCE: u32 = 1 << 31;

/// The rows, in order.
#[derive(Debug, Default)]
pub(super) struct Assets {
    rows: Vec<(String, AssetPart)>,
    numbers: HashMap<String, u16>,
}

static SHIPPED: LazyLock<Assets> = LazyLock::new(|| read(include_str!("assets.csv")).0);

/// Reads the table, and lists the rows that it cannot read.
fn read(text: &str) -> (Assets, Vec<String>) {
    let (mut assets, mut wrong) = (Assets::default(), Vec::new());
    let mut reader = csv::ReaderBuilder::new().comment(Some(b'#')).from_reader(text.as_bytes());
    for record in reader.records().flatten() {
        let (path, word) = (record.get(0).unwrap_or(""), record.get(1).unwrap_or(""));
        let number = u16::try_from(assets.rows.len()).unwrap_or(u16::MAX);
        match AssetPart::parse(word) {
            Some(part) if assets.numbers.insert(path.to_owned(), number).is_none() => {
                assets.rows.push((path.to_owned(), part));
            }
            _ => wrong.push(format!("{path},{word}")),
        }
    }
    (assets, wrong)
}

/// The rank of a row, and in it of the field at this place of the field table; the path of the row itself counts first.
fn rank(row: usize, place: usize) -> u32 {
    let [row, place] = [row, place].map(|number| u16::try_from(number).unwrap_or(u16::MAX));
    u32::from(row) << 16 | u32::from(place)
}

impl Assets {
    /// The table that is shipped.
    pub(super) fn shipped() -> &'static Assets {
        &SHIPPED
    }

    /// The paths of the rows.
    pub(super) fn fields(&self) -> impl Iterator<Item = (&str, AssetField)> {
        let rows = self.rows.iter().enumerate();
        rows.map(|(row, (path, part))| (path.as_str(), AssetField { part: *part, rank: rank(row, 0) }))
    }

    /// What a field of the field table says, which has this place there.
    pub(super) fn of_field(&self, field: &Field, place: usize) -> Option<AssetField> {
        let row = self.numbers.get(field.meaning()).map(|number| usize::from(*number));
        if let Some((row, (_, part))) = row.and_then(|row| Some((row, self.rows.get(row)?))) {
            return Some(AssetField { part: *part, rank: rank(row, place.saturating_add(1)) });
        }
        let part = match field.kind {
            _ if field.role != Role::Asset => return None,
            FieldKind::Of(Kind::Ip) => AssetPart::HostAddress,
            FieldKind::Of(Kind::Domain) | FieldKind::Auto | FieldKind::Any | FieldKind::NotRead => AssetPart::HostName,
            _ => return None,
        };
        Some(AssetField { part, rank: rank(self.rows.len(), place) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_read() {
        let (assets, wrong) = read(include_str!("assets.csv"));
        assert_eq!(wrong, [""; 0]);
        assert!(assets.rows.len() > 50 && rank(assets.rows.len(), usize::MAX) < OF_RESOURCE);
        let (_, wrong) = read("path,part\nhost.id,host.id\nhost.id,user\na,boss\n");
        assert_eq!(wrong, ["host.id,user", "a,boss"]);
    }
}

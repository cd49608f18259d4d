//! Cutting a batch takes no more memory than the room that is taken for it, and writes no more than a stated factor.

use bytes::Bytes;
use hotlist::encoding::Rope;
use hotlist::encoding::envelope::{Envelope, Extent, Layout, MAX_REPETITION, OTLP, VECTOR};
use hotlist::sink::grpc::PARTS_AT_ONCE;

use crate::{Outcome, heap};

/// Records of each batch.
const RECORDS: usize = 20_000;
/// The most bytes of a request that a batch is split into.
const MAX_BYTES: usize = 4096;

/// What is beyond its bound, in words.
pub fn faults() -> Outcome<Vec<String>> {
    let mut faults = Vec::new();
    for (name, envelope, batch) in batches() {
        let extent = Extent::measure(envelope, &batch)?;
        let ((parts, bytes), split) = heap::most(|| {
            let mut held: [Option<Rope>; PARTS_AT_ONCE] = [const { None }; PARTS_AT_ONCE];
            let (mut parts, mut bytes) = (0, 0);
            for part in envelope.split(&batch, MAX_BYTES) {
                bytes += part.len();
                if let Some(place) = held.get_mut(parts % PARTS_AT_ONCE) {
                    *place = Some(part);
                }
                parts += 1;
            }
            (parts, bytes)
        });
        let places: Vec<u32> = (0..RECORDS as u32).step_by(2).collect();
        let (_, picked) = heap::most(|| Layout::new(envelope, batch.clone()).map(|layout| layout.request_at(&places)));
        for (what, taken, most) in
            [("split", extent.bytes_to_split(), split), ("picked from", extent.bytes_to_pick(), picked)]
        {
            if most > taken {
                faults.push(format!("a batch of {name} is {what}: {taken} bytes of room are taken, and {most} used"));
            }
        }
        if parts < 2 {
            faults.push(format!("a batch of {name} is not split"));
        }
        if bytes > batch.len() * MAX_REPETITION {
            faults.push(format!("a batch of {name} of {} bytes is split into {bytes}", batch.len()));
        }
    }
    Ok(faults)
}

/// Batches that are laid out in as many ways as there are, with the least of records.
fn batches() -> Vec<(&'static str, Envelope, Bytes)> {
    let record = field(2, b"");
    let own_scope = field(2, &record);
    let between = [record.as_slice(), &field(9, b"x")].concat();
    let resource = |scopes: &[u8]| field(1, &[field(1, b"r").as_slice(), scopes, &field(9, b"y")].concat());
    let scope = |records: &[u8]| field(2, &[field(1, b"s").as_slice(), records].concat());
    let all = [
        ("records side by side", OTLP, resource(&scope(&record.repeat(RECORDS)))),
        ("records with something between them", OTLP, resource(&scope(&between.repeat(RECORDS)))),
        ("records in scopes of their own", OTLP, resource(&own_scope.repeat(RECORDS))),
        ("records in resources of their own", OTLP, resource(&scope(&record)).repeat(RECORDS)),
        (
            "records after many resources without any",
            OTLP,
            [
                [field(1, b""), field(9, b"")].concat().repeat(RECORDS).as_slice(),
                &resource(&scope(&record.repeat(RECORDS))),
            ]
            .concat(),
        ),
        ("events side by side", VECTOR, field(1, b"").repeat(RECORDS)),
        ("events with something between them", VECTOR, [field(1, b""), field(9, b"x")].concat().repeat(RECORDS)),
    ];
    all.map(|(name, envelope, batch)| (name, envelope, Bytes::from(batch))).to_vec()
}

/// A field of protobuf that holds bytes (https://protobuf.dev/programming-guides/encoding/).
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    let mut length = content.len();
    while length > 0x7f {
        out.push(length as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
    out.extend_from_slice(content);
    out
}

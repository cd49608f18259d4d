//! The measured work: a batch is matched and tagged, then made ready for a sink.

use std::sync::Arc;

use bytes::Bytes;
use hotlist::detect::{Budgets, Detector};
use hotlist::encoding::{Format, Tagging, otlp};
use hotlist::feed::{FeedOptions, import};
use hotlist::intel::snapshot::{Feed, MatchOptions, SnapshotBuilder};
use hotlist::pipeline::{Batch, BatchRefusal, Work};
use hotlist::policy::Policy;
use hotlist::schema::FieldTable;
use hotlist::sink::Only;
use jiff::Timestamp;

use crate::Outcome;
use crate::cases::Case;
use crate::encode::Encoding;

/// The treatment of a batch after matching.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sink {
    /// It leaves in the protocol in which it came, or in OTLP when it came over a Filter stream.
    Same,
    /// It is converted to the other protocol.
    Other,
    /// Its hits leave as lines of JSON.
    Lines,
    /// It is cut into requests of 4 KiB.
    Split,
}

impl Sink {
    pub const ALL: [Sink; 4] = [Sink::Same, Sink::Other, Sink::Lines, Sink::Split];
}

/// The indicators that every case is matched with: a few of each kind, so that every field is looked at.
const INDICATORS: &str = "type,value
ip,203.0.113.66
ip,198.51.100.0/24
domain,evil.example
url,https://evil.example/x
email,mallory@evil.example
hash,44d88612fea8a8f36de82e1278abb02f44d88612fea8a8f36de82e1278abb02f
user,mallory
";

/// And addresses that are listed besides, so that many records can hit an indicator of their own.
const MANY: usize = 1024;

/// One of them.
pub fn one_of_many(at: usize) -> String {
    format!("2001:db8::{:x}", at % MANY + 0x1000)
}

/// Every way to look a value up.
const EVERYTHING: MatchOptions = MatchOptions {
    subdomains: true,
    url_hosts: true,
    user_principals: true,
    registered_domains: true,
    ..MatchOptions::EXACT
};

/// The detectors, with everything switched on that costs more: one that reads fields only, and one that scans every text.
pub struct Workshop {
    fields: Detector,
    texts: Detector,
}

impl Workshop {
    pub fn new() -> Outcome<Workshop> {
        let table = Arc::new(FieldTable::shipped()?);
        let options = FeedOptions { subdomains: true, ..FeedOptions::default() };
        let many: String = (0..MANY).map(|at| format!("ip,{}\n", one_of_many(at))).collect();
        let list = [INDICATORS, many.as_str()].concat();
        let indicators = import(list.as_bytes(), "cost", &options, &table)?.indicators;
        if indicators.len() != list.lines().count() - 1 {
            return Err(format!("only {} indicators were read", indicators.len()).into());
        }
        let detector = |options: MatchOptions| -> Outcome<Detector> {
            let mut builder = SnapshotBuilder::new(table.clone(), options, 11);
            builder.add_feed(Feed { subdomains: true, ..Feed::named("cost") }, indicators.clone())?;
            let (snapshot, policy) = (Arc::new(builder.build("1")), Some(Policy::default()));
            Ok(Detector { snapshot, policy, tagging: Tagging::default(), budgets: Budgets::default() })
        };
        let texts = MatchOptions { text: true, text_refang: true, ..EVERYTHING };
        Ok(Workshop { fields: detector(EVERYTHING)?, texts: detector(texts)? })
    }
}

/// The result of a case.
pub struct Done {
    /// The records that hit.
    pub hits: usize,
    /// Bytes that came out: of the tagged batch, or of what a sink made of it if that is more.
    pub output: usize,
}

/// The largest request that a sink sends, unless it is configured.
const MAX_REQUEST: usize = 4 << 20;

/// Does the work of one case. Callgrind finds it by its name.
///
/// # Errors
/// The request is refused: nothing that hotlist does not do is measured.
#[inline(never)]
pub fn measured(workshop: &Workshop, case: &Case, input: &Bytes) -> Outcome<Done> {
    let message = match case.encoding {
        Encoding::OtlpJson => Bytes::from(otlp::from_json(input)?.message),
        _ => input.clone(),
    };
    let format = case.encoding.format();
    let detector = if case.scans_texts { &workshop.texts } else { &workshop.fields };
    let (batch, _) =
        detector.batch(format, message, Timestamp::UNIX_EPOCH, &Work::default()).map_err(|e| refused(e.into()))?;
    let tagged = batch.message.len();
    let batch = Arc::new(Batch::from(batch));
    let output = match (case.sink, format) {
        (Sink::Same, Format::Filter) | (Sink::Other, Format::Vector) => converted(&batch, Format::Otlp)?,
        (Sink::Other, _) => converted(&batch, Format::Vector)?,
        (Sink::Same, _) => tagged,
        (Sink::Lines, _) => batch.events.hits.iter().map(|hit| format.render_record(&hit.record).len()).sum(),
        (Sink::Split, _) => {
            format.envelope().split(&batch.events.message.to_bytes(), 4 << 10).map(|part| part.to_bytes().len()).sum()
        }
    };
    Ok(Done { hits: batch.events.hits.len(), output: tagged.max(output) })
}

fn converted(batch: &Arc<Batch>, to: Format) -> Outcome<usize> {
    let mut bytes = 0;
    let take = |part: Arc<Batch>| {
        bytes += part.events.message.len();
        true
    };
    Only::All.convert(batch, to, MAX_REQUEST, take).map_err(refused)?;
    Ok(bytes)
}

fn refused(refusal: BatchRefusal) -> String {
    format!("the batch is refused: {refusal:?}")
}

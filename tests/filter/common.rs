//! A source in the test's process, with a real detector, and sinks that do what a test says.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use hotlist::config::Address;
use hotlist::detect::{Budgets, Detector};
use hotlist::encoding::{Format, Tagging};
use hotlist::intel::indicator::{Context, Indicator, Target, Term};
use hotlist::intel::snapshot::{Feed, MatchOptions, SnapshotBuilder};
use hotlist::intel::term;
use hotlist::observable::Kind;
use hotlist::pipeline::{
    Accepted, Batch, BatchRefusal, BoxFuture, Deliver, LookupResults, MatchedMessage, Metadata, Transform, ValueLookup,
    Work,
};
use hotlist::policy::Policy;
use hotlist::proto::filter::v1::filter_client::FilterClient;
use hotlist::proto::filter::v1::{Answer, FilterRequest, FilterResponse};
use hotlist::schema::FieldTable;
use hotlist::source::filter::Settings;
use hotlist::source::{FilterSource, Limits, SharedResources};
use jiff::Timestamp;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::transport::Channel;
use tonic::{Status, Streaming};

/// How long anything may take before a test fails.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The address that every detector here looks for.
pub const BAD: &str = "198.51.100.23";

pub fn indicator(kind: Kind, written: &str) -> Indicator {
    let value = term::value(kind, written).unwrap_or_else(|| panic!("`{written}` is no {kind}"));
    Indicator {
        id: None,
        terms: vec![Term { value, target: Target::Kind }],
        program: None,
        context: Arc::new(Context::default()),
        valid_from: None,
        valid_until: None,
        revoked: false,
        port: None,
        line: 1,
    }
}

/// Version 7 of one feed.
pub fn detector(policy: Policy, indicators: Vec<Indicator>) -> Detector {
    let table = Arc::new(FieldTable::embedded(true).unwrap());
    let mut builder = SnapshotBuilder::new(table, MatchOptions::default(), 7);
    builder.add_feed(Feed::named("planted"), indicators).unwrap();
    Detector {
        snapshot: Arc::new(builder.build("7")),
        policy: Some(policy),
        tagging: Tagging::default(),
        budgets: Budgets::default(),
    }
}

/// Matches as the live stream does.
pub struct Judge(pub Detector);

impl Transform for Judge {
    fn process(&self, format: Format, message: Bytes, work: &Work) -> Result<MatchedMessage, BatchRefusal> {
        assert_eq!(format, Format::Filter);
        let (matched, _) = self.0.batch(format, message, Timestamp::now(), work)?;
        Ok(matched)
    }
}

impl ValueLookup for Judge {
    fn check(&self, values: &[(&str, &str)]) -> Result<LookupResults, BatchRefusal> {
        let now = Timestamp::now();
        let check = |(kind, value): &(&str, &str)| self.0.check(kind, value, now).map_err(|error| error.to_string());
        Ok(LookupResults { results: values.iter().map(check).collect(), snapshot: Arc::clone(self.0.snapshot.name()) })
    }
}

/// Sinks that take everything at once, or wait for a test, or refuse what it says.
pub struct Sinks {
    gate: Option<Semaphore>,
    pub refusals: Mutex<Vec<BatchRefusal>>,
    pub inside: AtomicUsize,
    pub most_inside: AtomicUsize,
    /// Notified when a batch arrives.
    pub entered: Semaphore,
    pub taken: Mutex<Vec<Taken>>,
}

impl Sinks {
    pub fn open() -> Arc<Sinks> {
        Sinks::new(None)
    }

    /// Each batch waits until [`Sinks::let_pass`] lets it.
    pub fn gated() -> Arc<Sinks> {
        Sinks::new(Some(Semaphore::new(0)))
    }

    fn new(gate: Option<Semaphore>) -> Arc<Sinks> {
        let (inside, most_inside, entered) = (AtomicUsize::new(0), AtomicUsize::new(0), Semaphore::new(0));
        Arc::new(Sinks { gate, refusals: Mutex::default(), inside, most_inside, entered, taken: Mutex::default() })
    }

    pub fn let_pass(&self, batches: usize) {
        self.gate.as_ref().unwrap().add_permits(batches);
    }

    /// Waits until so many more batches have come in.
    pub async fn wait_for(&self, batches: u32) {
        let entered = tokio::time::timeout(PATIENCE, self.entered.acquire_many(batches)).await;
        entered.expect("the batches do not come").unwrap().forget();
    }
}

struct Inside<'a>(&'a Sinks);

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.0.inside.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Deliver for Sinks {
    fn deliver(&self, batch: Arc<Batch>) -> BoxFuture<'_, Result<Accepted, BatchRefusal>> {
        Box::pin(async move {
            let inside = self.inside.fetch_add(1, Ordering::SeqCst) + 1;
            let _inside = Inside(self);
            self.most_inside.fetch_max(inside, Ordering::SeqCst);
            self.entered.add_permits(1);
            if let Some(gate) = &self.gate {
                gate.acquire().await.unwrap().forget();
            }
            if let Some(refusal) = self.refusals.lock().unwrap().pop() {
                return Err(refusal);
            }
            let Batch { events, metadata, .. } = &*batch;
            let taken = Taken { records: events.records, hits: events.hits.len(), metadata: metadata.clone() };
            self.taken.lock().unwrap().push(taken);
            Ok(Accepted::default())
        })
    }
}

/// What is kept of a batch; its bytes would hold their room.
pub struct Taken {
    pub records: usize,
    pub hits: usize,
    pub metadata: Metadata,
}

pub struct Server {
    pub address: String,
    stop: oneshot::Sender<()>,
    served: JoinHandle<()>,
}

impl Server {
    pub fn start(limits: Limits, window: usize, judge: Judge, sinks: &Arc<Sinks>) -> Server {
        let shared = SharedResources::start(&limits).unwrap();
        let (any, settings) = (Address::Tcp("127.0.0.1:0".parse().unwrap()), Settings { limits, window });
        let bound = FilterSource::bind("agents", &any, settings, &shared, Arc::new(judge), sinks.clone()).unwrap();
        let address = bound.local_address().to_string();
        let (stop, stopped) = oneshot::channel();
        let served = tokio::spawn(async move {
            let stopped = async {
                // A test that drops its server has not stopped it.
                if stopped.await.is_err() {
                    std::future::pending::<()>().await;
                }
            };
            bound.serve(stopped).await.unwrap();
        });
        Server { address, stop, served }
    }

    /// Defaults, and one bad address.
    pub fn plain(sinks: &Arc<Sinks>) -> Server {
        Server::start(Limits::default(), 8, plain_judge(), sinks)
    }

    pub async fn client(&self) -> FilterClient<Channel> {
        client(&self.address).await
    }

    /// Begins to drain; the handle is ready when it is done.
    pub fn drain(self) -> JoinHandle<()> {
        self.stop.send(()).unwrap();
        self.served
    }
}

pub fn plain_judge() -> Judge {
    Judge(detector(Policy::default(), vec![indicator(Kind::Ip, BAD)]))
}

pub async fn client(address: &str) -> FilterClient<Channel> {
    let channel = Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
    FilterClient::new(channel).max_decoding_message_size(64 << 20)
}

/// One stream. Dropping `requests` is the end of the client's half.
pub struct Agent {
    pub requests: Option<mpsc::UnboundedSender<FilterRequest>>,
    pub answers: Streaming<FilterResponse>,
}

impl Agent {
    pub async fn open(mut client: FilterClient<Channel>) -> Agent {
        let (requests, queue) = mpsc::unbounded_channel();
        let answers = client.stream(UnboundedReceiverStream::new(queue)).await.unwrap().into_inner();
        Agent { requests: Some(requests), answers }
    }

    pub fn send(&self, request: FilterRequest) {
        self.requests.as_ref().unwrap().send(request).unwrap();
    }

    pub fn finish(&mut self) {
        self.requests = None;
    }

    /// The next answer, `None` at a clean end.
    pub async fn next(&mut self) -> Result<Option<FilterResponse>, Status> {
        tokio::time::timeout(PATIENCE, self.answers.message()).await.expect("no answer comes")
    }

    pub async fn answer(&mut self) -> FilterResponse {
        self.next().await.unwrap().expect("the stream ended")
    }
}

pub fn request(id: u64, events: &[&str], answer: Answer) -> FilterRequest {
    let events = events.iter().map(|event| Bytes::copy_from_slice(event.as_bytes())).collect();
    FilterRequest { id, events, answer: answer.into() }
}

/// An event that hits.
pub fn bad(number: usize) -> String {
    format!(r#"{{"n":{number}, "destination": {{"ip":"{BAD}"}}}}"#)
}

/// An event that does not, in a spelling of its own.
pub fn good(number: usize) -> String {
    format!(r#" {{ "n" :{number},"n":{number} , "destination.ip":"192.0.2.1","x":[1e0, "\u0041"] }}  "#)
}

/// The metrics of this process, which is that of one test.
pub fn metrics() -> metrics_exporter_prometheus::PrometheusHandle {
    hotlist::telemetry::init_metrics().unwrap()
}

/// The value of a series in a text of metrics, 0 when there is none.
pub fn series(text: &str, name: &str) -> f64 {
    let found = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    found.map_or(0.0, |value| value.parse().unwrap())
}

/// Waits until a series has a value.
pub async fn until(handle: &metrics_exporter_prometheus::PrometheusHandle, name: &str, wanted: f64) {
    let reached = async {
        while series(&handle.render(), name) != wanted {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let reached = tokio::time::timeout(PATIENCE, reached).await;
    reached.unwrap_or_else(|_| panic!("{name} does not become {wanted}:\n{}", handle.render()));
}

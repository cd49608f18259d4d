//! A stream by hand: whatever bytes a test wants, when it wants, with a window of its own, and answers as they come.

use bytes::{Buf, Bytes, BytesMut};
use h2::client::{self, SendRequest};
use h2::{RecvStream, SendStream};
use hotlist::proto::filter::v1::FilterResponse;
use http::Request;
use prost::Message;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::common::PATIENCE;

pub const STREAM: &str = "/hotlist.filter.v1.Filter/Stream";

pub struct Raw {
    _send: SendRequest<Bytes>,
    requests: SendStream<Bytes>,
    answers: RecvStream,
    found: BytesMut,
    /// Ends with the connection.
    pub connection: JoinHandle<()>,
}

impl Raw {
    pub async fn open(address: &str, headers: &[(&str, &str)]) -> Raw {
        let stream = TcpStream::connect(address).await.unwrap();
        let mut builder = client::Builder::new();
        // The least that HTTP/2 starts with, so that answers fill it soon.
        builder.initial_window_size(65_535).initial_connection_window_size(65_535);
        let (send, connection) = builder.handshake::<_, Bytes>(stream).await.unwrap();
        let connection = tokio::spawn(async move { drop(connection.await) });
        let mut request = Request::post(format!("http://{address}{STREAM}"))
            .header("te", "trailers")
            .header("content-type", "application/grpc");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut send = send.ready().await.unwrap();
        let (response, requests) = send.send_request(request.body(()).unwrap(), false).unwrap();
        let response = timeout(PATIENCE, response).await.unwrap().unwrap();
        assert_eq!(response.status(), 200);
        Raw { _send: send, requests, answers: response.into_body(), found: BytesMut::new(), connection }
    }

    /// Sends bytes, as flow control lets them go.
    pub async fn bytes(&mut self, mut bytes: Bytes) {
        while !bytes.is_empty() {
            self.requests.reserve_capacity(bytes.len());
            let room = std::future::poll_fn(|context| self.requests.poll_capacity(context));
            let room = timeout(PATIENCE, room).await.expect("no room").unwrap().unwrap();
            self.requests.send_data(bytes.split_to(room.min(bytes.len())), false).unwrap();
        }
    }

    pub async fn frame(&mut self, flag: u8, message: &[u8]) {
        let length = u32::try_from(message.len()).unwrap().to_be_bytes();
        self.bytes(Bytes::from([&[flag], length.as_slice(), message].concat())).await;
    }

    pub fn finish(&mut self) {
        self.requests.send_data(Bytes::new(), true).unwrap();
    }

    /// The next answer.
    pub async fn answer(&mut self) -> FilterResponse {
        loop {
            if self.found.len() >= 5 {
                let len = u32::from_be_bytes(self.found[1..5].try_into().unwrap()) as usize;
                if self.found.len() >= 5 + len {
                    self.found.advance(5);
                    return FilterResponse::decode(self.found.split_to(len)).unwrap();
                }
            }
            assert!(self.more().await, "the stream ended");
        }
    }

    async fn more(&mut self) -> bool {
        let Some(data) = timeout(PATIENCE, self.answers.data()).await.expect("nothing comes") else { return false };
        let data = data.unwrap();
        self.answers.flow_control().release_capacity(data.len()).unwrap();
        self.found.extend_from_slice(&data);
        true
    }

    /// Status and message of the end, whatever stands before it.
    pub async fn end(&mut self) -> (i32, String) {
        while self.more().await {}
        let trailers = timeout(PATIENCE, self.answers.trailers()).await.unwrap().unwrap().expect("trailers");
        let text = |name: &str| trailers.get(name).map_or(String::new(), |text| text.to_str().unwrap().to_owned());
        (text("grpc-status").parse().unwrap(), text("grpc-message"))
    }
}

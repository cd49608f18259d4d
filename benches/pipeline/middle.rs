//! A proxy without Hotlist: tonic in, tonic out, and nothing or a decode and an encode in between.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use anyhow::Result;
use bytes::{Buf, BufMut, Bytes};
use http::uri::PathAndQuery;
use http::{Request, Response};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use prost::Message;
use tokio::net::TcpListener;
use tonic::Status;
use tonic::body::Body;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::server::{NamedService, UnaryService};
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Endpoint, Server};
use tower::Service;

use crate::child::send_line;

const PATH: PathAndQuery = PathAndQuery::from_static("/opentelemetry.proto.collector.logs.v1.LogsService/Export");

/// The treatment of a message.
#[derive(Clone, Copy)]
pub enum Work {
    /// Nothing.
    Pass,
    /// prost in and out.
    DecodeEncode,
}

/// Says its address and serves until it is killed.
pub fn run(to: &str, work: Work) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let channel = Endpoint::from_shared(to.to_owned())?.tcp_nodelay(true).connect().await?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        send_line(listener.local_addr()?)?;
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        Server::builder().add_service(Proxy { channel, work }).serve_with_incoming(incoming).await?;
        Ok(())
    })
}

#[derive(Clone)]
struct Proxy {
    channel: Channel,
    work: Work,
}

type Answer<T> = Pin<Box<dyn Future<Output = Result<T, Status>> + Send>>;

impl NamedService for Proxy {
    const NAME: &'static str = "opentelemetry.proto.collector.logs.v1.LogsService";
}

impl Service<Request<Body>> for Proxy {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let proxy = self.clone();
        Box::pin(async move { Ok(tonic::server::Grpc::new(Raw).unary(proxy, request).await) })
    }
}

impl UnaryService<Bytes> for Proxy {
    type Response = Bytes;
    type Future = Answer<tonic::Response<Bytes>>;

    fn call(&mut self, request: tonic::Request<Bytes>) -> Self::Future {
        let Proxy { channel, work } = self.clone();
        Box::pin(async move {
            let mut message = request.into_inner();
            if let Work::DecodeEncode = work {
                let decoded = ExportLogsServiceRequest::decode(message)
                    .map_err(|error| Status::invalid_argument(error.to_string()))?;
                message = Bytes::from(decoded.encode_to_vec());
            }
            let mut client = tonic::client::Grpc::new(channel);
            client.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
            client.unary(tonic::Request::new(message), PATH, Raw).await
        })
    }
}

/// A codec that leaves messages as they are.
#[derive(Clone, Copy, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Raw;
    type Decoder = Raw;

    fn encoder(&mut self) -> Raw {
        Raw
    }

    fn decoder(&mut self) -> Raw {
        Raw
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}

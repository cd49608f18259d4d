//! The body of a request on arrival: its rate decides which connection is evicted when every slot is in use.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::connections::ConnectionState;

/// A request body whose bytes are counted for its connection until it ends or is dropped.
#[derive(Debug)]
pub struct Upload {
    body: Incoming,
    /// None after the end.
    arriving: Option<OpenUpload>,
}

/// A body that has not ended.
#[derive(Debug)]
struct OpenUpload(Arc<ConnectionState>);

impl Drop for OpenUpload {
    fn drop(&mut self) {
        self.0.end_upload();
    }
}

impl Upload {
    pub(super) fn new(body: Incoming, entry: &Arc<ConnectionState>) -> Upload {
        let arriving = (!body.is_end_stream()).then(|| {
            entry.begin_upload();
            OpenUpload(Arc::clone(entry))
        });
        Upload { body, arriving }
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(context));
        if let (Some(Ok(frame)), Some(arriving)) = (&frame, &self.arriving) {
            arriving.0.uploaded(frame.data_ref().map_or(0, Bytes::len));
        }
        if frame.is_none() || self.body.is_end_stream() {
            self.arriving = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

//! The FetchSegment call: sends the bytes of a segment that a manifest names.

use std::io::{self, SeekFrom};
use std::path::Path;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::stream::{self, BoxStream, StreamExt};
use metrics::counter;
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tonic::{Request, Status};

use super::quotas::PermitKind;
use super::{ServerState, caller, permit};
use crate::escape::Escaped;
use crate::intel::manifest::Digest;
use crate::proto::control::v1::{Chunk, FetchSegmentRequest};
use crate::telemetry;

/// The size of a chunk in bytes.
const CHUNK: usize = 64 << 10;

pub(super) type Chunks = BoxStream<'static, Result<Chunk, Status>>;

pub(super) async fn open(shared: &Arc<ServerState>, request: Request<FetchSegmentRequest>) -> Result<Chunks, Status> {
    let caller = caller(&request);
    let tenant = caller.identity.tenant()?;
    let FetchSegmentRequest { digest, offset } = request.get_ref();
    let digest = <[u8; 32]>::try_from(&digest[..])
        .map_err(|_| Status::invalid_argument("digest: give the 32 bytes of a SHA-256"))
        .map(Digest)?;
    // Whether the segment exists for another tenant is not disclosed.
    let mut segment = shared.publications.current().segment(tenant, &digest);
    if segment.is_none() {
        // The manifest may have come from another control plane that has read newer publications.
        segment = shared.publications.refresh().await.segment(tenant, &digest);
    }
    let segment = segment.ok_or_else(|| Status::not_found("no manifest for this client names this segment"))?;
    let permit = permit(shared, "fetch_segment", PermitKind::Fetch, &caller)?;
    let path = shared.store.segment(&digest);
    let failed = |error: io::Error| unavailable(&path, &error);
    let mut file = File::open(&path).await.map_err(failed)?;
    let bytes = file.metadata().await.map_err(failed)?.len();
    if bytes != segment.bytes {
        let wanted = segment.bytes;
        static LINES: telemetry::Throttle = telemetry::Throttle::new();
        if let Some(left_out) = LINES.pass() {
            tracing::error!(path = %Escaped(path.display()), bytes, wanted, left_out, "segment length differs from its manifest");
        }
        return Err(Status::data_loss("the segment is damaged; ask the operator of this control plane"));
    }
    if *offset >= bytes {
        return Err(Status::out_of_range(format!("offset: the segment has {bytes} bytes")));
    }
    file.seek(SeekFrom::Start(*offset)).await.map_err(failed)?;
    let state = (file, bytes - offset, Some(bytes), permit);
    let chunks = stream::try_unfold(state, move |(mut file, left, first, permit)| {
        let path = path.clone();
        async move {
            if left == 0 {
                return Ok(None);
            }
            let data = chunk(&mut file, left).await.map_err(|error| unavailable(&path, &error))?;
            let sent = data.len() as u64;
            counter!(telemetry::CONTROL_PLANE_FETCHED_BYTES_TOTAL).increment(sent);
            let chunk = Chunk { data, segment_bytes: first.unwrap_or(0) };
            Ok(Some((chunk, (file, left - sent, None, permit))))
        }
    });
    Ok(chunks.boxed())
}

async fn chunk(file: &mut File, left: u64) -> io::Result<Bytes> {
    let length = left.min(CHUNK as u64) as usize;
    let mut data = BytesMut::zeroed(length);
    file.read_exact(&mut data).await?;
    Ok(data.freeze())
}

fn unavailable(path: &Path, error: &io::Error) -> Status {
    static LINES: telemetry::Throttle = telemetry::Throttle::new();
    if let Some(left_out) = LINES.pass() {
        tracing::error!(path = %Escaped(path.display()), error = %Escaped(&error), left_out, "cannot read a published segment");
    }
    Status::unavailable("the segment cannot be read at the moment; retry later")
}

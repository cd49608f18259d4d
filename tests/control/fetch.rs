//! FetchSegment: whole, resumed, and what is not to be had.

use bytes::Bytes;
use hotlist::intel::manifest::Digest;
use hotlist::proto::control::v1::FetchSegmentRequest;
use hotlist::proto::control::v1::control_client::ControlClient;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::common::{Plane, Scene};

/// The bytes, the lengths of the chunks, and what the first says of the whole.
pub async fn fetch(channel: Channel, digest: &[u8], offset: u64) -> Result<(Vec<u8>, Vec<usize>, u64), Status> {
    let request = FetchSegmentRequest { digest: Bytes::copy_from_slice(digest), offset };
    let mut chunks = ControlClient::new(channel).fetch_segment(request).await?.into_inner();
    let (mut bytes, mut lengths, mut whole) = (Vec::new(), Vec::new(), 0);
    while let Some(chunk) = chunks.message().await? {
        if lengths.is_empty() {
            whole = chunk.segment_bytes;
        } else {
            assert_eq!(chunk.segment_bytes, 0);
        }
        lengths.push(chunk.data.len());
        bytes.extend_from_slice(&chunk.data);
    }
    Ok((bytes, lengths, whole))
}

/// Scenario: a segment of some chunks, from the start and from within. Guarantee: exactly its bytes, in chunks of at
/// most 64 KiB.
#[tokio::test]
async fn a_segment_comes_whole_and_from_any_offset() {
    let scene = Scene::new();
    let content: Vec<u8> = (0..200_001_u32).map(|number| (number % 251) as u8).collect();
    let segment = scene.segment(&content);
    scene.publish("all", &[], &[segment]);
    let plane = Plane::start(&scene).await;
    let channel = plane.channel().await;
    let digest = &segment.digest.0;
    let (bytes, lengths, whole) = fetch(channel.clone(), digest, 0).await.unwrap();
    assert_eq!((lengths, whole), (vec![65_536, 65_536, 65_536, 3_393], 200_001));
    assert!(bytes == content);
    for offset in [1, 65_536, 65_537, 200_000] {
        let (bytes, _, whole) = fetch(channel.clone(), digest, offset).await.unwrap();
        assert!(bytes == content[usize::try_from(offset).unwrap()..], "{offset}");
        assert_eq!(whole, 200_001);
    }
    for offset in [200_001, 200_002, u64::MAX] {
        assert_eq!(fetch(channel.clone(), digest, offset).await.unwrap_err().code(), Code::OutOfRange, "{offset}");
    }
}

/// Scenario: digests that nobody published, and that are none. Guarantee: NOT_FOUND although the file is there, and
/// INVALID_ARGUMENT.
#[tokio::test]
async fn only_what_is_published_is_to_be_had() {
    let scene = Scene::new();
    let (published, lies_there) = (scene.segment(b"published"), scene.segment(b"lies there"));
    scene.publish("all", &[("zone", "eu")], &[published]);
    let plane = Plane::start(&scene).await;
    let channel = plane.channel().await;
    let code = async |digest: &[u8]| fetch(channel.clone(), digest, 0).await.map_err(|status| status.code()).err();
    assert_eq!(code(&published.digest.0).await, None);
    assert_eq!(code(&lies_there.digest.0).await, Some(Code::NotFound));
    assert_eq!(code(&Digest::sha256(b"nowhere").0).await, Some(Code::NotFound));
    for bad in [&b""[..], b"../../../etc/passwd", &[0; 31], &[0; 33]] {
        assert_eq!(code(bad).await, Some(Code::InvalidArgument), "{bad:?}");
    }
}

/// Scenario: the file of a published segment vanishes, or is truncated. Guarantee: a missing segment is a status that
/// the client retries, a truncated one is reported as damaged; no wrong content is sent.
#[tokio::test]
async fn a_segment_that_is_damaged_is_not_sent() {
    let scene = Scene::new();
    let (gone, cut) = (scene.segment(b"gone"), scene.segment(b"cut"));
    scene.publish("all", &[], &[gone, cut]);
    std::fs::remove_file(scene.store.segment(&gone.digest)).unwrap();
    std::fs::write(scene.store.segment(&cut.digest), b"cu").unwrap();
    let plane = Plane::start(&scene).await;
    let channel = plane.channel().await;
    assert_eq!(fetch(channel.clone(), &gone.digest.0, 0).await.unwrap_err().code(), Code::Unavailable);
    assert_eq!(fetch(channel.clone(), &cut.digest.0, 0).await.unwrap_err().code(), Code::DataLoss);
}

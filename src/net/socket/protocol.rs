//! The protocol of a connection: HTTP/1, HTTP/2, or whichever of the two the peer started with.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper_util::server::graceful::GracefulConnection;

/// A running protocol; it is ready when the connection is closed.
pub trait Protocol: Future<Output = Result<(), hyper::Error>> {
    /// Asks the peer to disconnect, and ends when its requests are answered.
    fn leave(self: Pin<&mut Self>);
}

impl<C: GracefulConnection<Error = hyper::Error>> Protocol for C {
    fn leave(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

#[derive(Debug)]
pub enum Either<One, Two> {
    /// HTTP/1.
    One(Pin<Box<One>>),
    /// HTTP/2.
    Two(Pin<Box<Two>>),
}

impl<One: Protocol, Two: Protocol> Future for Either<One, Two> {
    type Output = Result<(), hyper::Error>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.get_mut() {
            Either::One(protocol) => protocol.as_mut().poll(context),
            Either::Two(protocol) => protocol.as_mut().poll(context),
        }
    }
}

impl<One: Protocol, Two: Protocol> Protocol for Either<One, Two> {
    fn leave(self: Pin<&mut Self>) {
        match self.get_mut() {
            Either::One(protocol) => protocol.as_mut().leave(),
            Either::Two(protocol) => protocol.as_mut().leave(),
        }
    }
}

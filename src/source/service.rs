//! The tower service that each source is for one connection: always ready, and it answers every request itself.

/// Implements `tower::Service` for a source by its method `answer`, which returns the future of the response.
macro_rules! source_service {
    ($source:ty) => {
        impl<B> tower::Service<http::Request<B>> for $source
        where
            B: http_body::Body<Data = bytes::Bytes> + Unpin + Send + 'static,
        {
            type Response = http::Response<tonic::body::Body>;
            type Error = std::convert::Infallible;
            type Future = $crate::pipeline::BoxFuture<'static, Result<Self::Response, Self::Error>>;

            fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Self::Error>> {
                std::task::Poll::Ready(Ok(()))
            }

            fn call(&mut self, request: http::Request<B>) -> Self::Future {
                let answer = self.answer(request);
                Box::pin(async move { Ok(answer.await) })
            }
        }
    };
}

pub(super) use source_service;

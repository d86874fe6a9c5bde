//! What stands at the public address: it speaks TLS, and hands the bytes on to ingest.

use std::net::SocketAddr;
use std::sync::Arc;

use shared::testing::authority::Pair;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

/// Listens until the test ends.
pub async fn serve(listener: TcpListener, pair: &Pair, ingest: SocketAddr) {
    let chain = CertificateDer::pem_file_iter(&pair.certificate).expect("a file");
    let chain = chain.collect::<Result<_, _>>().expect("certificates");
    let key = PrivateKeyDer::from_pem_file(&pair.key).expect("a key");
    let config = ServerConfig::builder_with_provider(default_provider().into()).with_safe_default_protocol_versions();
    let config = config.expect("versions").with_no_client_auth().with_single_cert(chain, key).expect("a pair");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                // Who does not trust the certificate goes away: that is what the test asks for.
                let Ok(mut outside) = acceptor.accept(stream).await else { return };
                let mut inside = TcpStream::connect(ingest).await.expect("ingest");
                let _ = copy_bidirectional(&mut outside, &mut inside).await;
            });
        }
    });
}

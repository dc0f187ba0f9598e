//! TLS by rustls, when the relay is its own front.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

/// Why TLS cannot be spoken.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or holds no PEM of the kind.
    #[error("cannot use {path} for TLS: {what}")]
    File {
        /// Which.
        path: String,
        /// What is wrong.
        what: String,
    },
    /// Certificate and key do not fit together.
    #[error("the certificate and the key cannot be used: {0}")]
    Config(#[from] rustls::Error),
}

/// Makes what accepts TLS connections, from a certificate chain and its key.
///
/// # Errors
/// When the files cannot be used.
pub fn acceptor(certificate: &Path, key: &Path) -> Result<TlsAcceptor, TlsError> {
    let failed = |path: &Path, what: &dyn std::fmt::Display| TlsError::File { path: path.display().to_string(), what: what.to_string() };
    let open = |path: &Path| File::open(path).map(BufReader::new).map_err(|error| failed(path, &error));
    let chain: Result<Vec<CertificateDer<'static>>, _> = CertificateDer::pem_reader_iter(open(certificate)?).collect();
    let chain = chain.map_err(|error| failed(certificate, &error))?;
    let secret = PrivateKeyDer::from_pem_reader(open(key)?).map_err(|error| failed(key, &error))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let mut config = builder.with_no_client_auth().with_single_cert(chain, secret)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

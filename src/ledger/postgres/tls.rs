//! TLS to PostgreSQL: which certificates are trusted.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

/// How a server's certificate is verified.
pub(super) struct Trust {
    pub(super) roots: Roots,
    /// Whether the certificate must be for the host in the URL. False with `sslmode=verify-ca`.
    pub(super) verifies_host: bool,
}

/// The trusted authorities.
pub(super) enum Roots {
    /// The authorities of the machine.
    System,
    /// Only the authorities in this file.
    Only(PathBuf),
}

impl Trust {
    /// Builds the client's configuration. `also` is a file of further authorities. An error is a sentence.
    pub(super) fn client_config(&self, also: Option<&PathBuf>) -> Result<ClientConfig, String> {
        let mut roots = RootCertStore::empty();
        match &self.roots {
            Roots::System => {
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            }
            Roots::Only(file) => add(&mut roots, "the file of sslrootcert", file)?,
        }
        if let Some(file) = also {
            add(&mut roots, "ledger.ca_file", file)?;
        }
        let builder = ClientConfig::builder();
        if self.verifies_host {
            return Ok(builder.with_root_certificates(roots).with_no_client_auth());
        }
        let chain = WebPkiServerVerifier::builder(Arc::new(roots))
            .build()
            .map_err(|_| "there is no authority to verify the server's certificate".to_owned())?;
        let verifier = Arc::new(ChainOnly(chain));
        Ok(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
    }
}

fn add(roots: &mut RootCertStore, key: &str, file: &PathBuf) -> Result<(), String> {
    let unreadable = |_| format!("{key}: {} holds no readable PEM certificate", file.display());
    let mut count = 0;
    for certificate in CertificateDer::pem_file_iter(file).map_err(unreadable)? {
        roots.add(certificate.map_err(unreadable)?).map_err(|_| {
            format!("{key}: {} holds a certificate that is no certificate of an authority", file.display())
        })?;
        count += 1;
    }
    if count == 0 { Err(format!("{key}: {} holds no PEM certificate", file.display())) } else { Ok(()) }
}

/// Verifies the chain to a trusted authority, but not the name (`sslmode=verify-ca`).
#[derive(Debug)]
struct ChainOnly(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for ChainOnly {
    fn verify_server_cert(
        &self, end_entity: &CertificateDer<'_>, intermediates: &[CertificateDer<'_>], name: &ServerName<'_>,
        ocsp: &[u8], now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        // The name is checked last, after the chain.
        match self.0.verify_server_cert(end_entity, intermediates, name, ocsp, now) {
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self, message: &[u8], certificate: &CertificateDer<'_>, signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self, message: &[u8], certificate: &CertificateDer<'_>, signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

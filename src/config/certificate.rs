//! The certificate that a listener shows, and its key: read from PEM files beside `postern.toml`.
//!
//! **Invariant:** a [`ServerCertificate`] is whole: its chain can be read, and its key belongs to it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys};

/// A certificate chain and its key, with the files they came from.
#[derive(Clone, Debug)]
pub struct ServerCertificate {
    /// As `postern.toml` names them.
    pub certificate: PathBuf,
    pub key: PathBuf,
    /// `postern.toml`, which they lie beside.
    beside: PathBuf,
    pub certified: Arc<CertifiedKey>,
}

/// Which of the two files is at fault, and how.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) of: Part,
    pub(super) message: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Certificate,
    Key,
}

impl ServerCertificate {
    pub(super) fn read(beside: &Path, certificate: &Path, key: &Path) -> Result<Self, Fault> {
        let certified = certified(&beside.with_file_name(certificate), &beside.with_file_name(key))?;
        Ok(Self {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
            beside: beside.to_owned(),
            certified: Arc::new(certified),
        })
    }

    /// What the same files hold now.
    ///
    /// # Errors
    /// Says which file is at fault, and how.
    pub fn reread(&self) -> Result<Self, String> {
        Self::read(&self.beside, &self.certificate, &self.key).map_err(|fault| fault.message)
    }
}

impl PartialEq for ServerCertificate {
    fn eq(&self, other: &Self) -> bool {
        let files = |this: &Self| (this.certificate.clone(), this.key.clone());
        files(self) == files(other) && self.certified.cert == other.certified.cert
    }
}
impl Eq for ServerCertificate {}

fn certified(certificate: &Path, key: &Path) -> Result<CertifiedKey, Fault> {
    let fault = |of, path: &Path, what: &str| Fault { of, message: format!("`{}` {what}", path.display()) };
    let read = |of, path: &Path| {
        std::fs::read(path).map_err(|error| fault(of, path, &format!("cannot be read: {error}")))
    };
    let pem = read(Part::Certificate, certificate)?;
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&pem).filter_map(Result::ok).collect();
    if chain.is_empty() || chain.len() != CertificateDer::pem_slice_iter(&pem).count() {
        let what = "holds no certificate chain, expected the server's certificate and those it stands on, in \
                    PEM form";
        return Err(fault(Part::Certificate, certificate, what));
    }
    let pem = read(Part::Key, key)?;
    let private = PrivateKeyDer::from_pem_slice(&pem).map_err(|_| {
        fault(Part::Key, key, "holds no private key, expected one in PEM form that is not encrypted")
    })?;
    CertifiedKey::from_der(chain, private, &aws_lc_rs::default_provider()).map_err(|error| match error {
        Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            let what =
                format!("is not the key of the certificate in `{}`, expected its own", certificate.display());
            fault(Part::Key, key, &what)
        }
        Error::InvalidCertificate(error) => {
            let what = format!("holds a certificate that cannot be read: {error:?}");
            fault(Part::Certificate, certificate, &what)
        }
        error => fault(Part::Key, key, &format!("holds a key that cannot be used: {error}")),
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const CERTIFICATE: &str = include_str!("../../tests/mailer/tls/server.pem");
    const KEY: &str = include_str!("../../tests/mailer/tls/server.key");
    const AUTHORITY: &str = include_str!("../../tests/mailer/tls/ca.pem");

    /// What is found wrong with these two files, in the place of the directory's name nothing.
    fn fault(certificate: Option<&str>, key: Option<&str>) -> Option<(Part, String)> {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in [("c.pem", certificate), ("k.pem", key)] {
            text.map(|text| fs::write(folder.path().join(name), text).unwrap());
        }
        let main = folder.path().join("postern.toml");
        let found = ServerCertificate::read(&main, Path::new("c.pem"), Path::new("k.pem")).err();
        let directory = format!("{}/", folder.path().display());
        found.map(|fault| (fault.of, fault.message.replace(&directory, "")))
    }

    #[test]
    fn a_chain_and_its_key_are_taken() {
        assert_eq!(fault(Some(CERTIFICATE), Some(KEY)), None);
        assert_eq!(fault(Some(&format!("{CERTIFICATE}{AUTHORITY}")), Some(KEY)), None);
    }

    #[test]
    fn what_is_wrong_is_told_with_the_file() {
        let check = |certificate, key, part, told: &str| {
            let (of, message) = fault(certificate, key).unwrap();
            assert_eq!(of, part, "{message}");
            assert!(message.starts_with(told), "{message}");
        };
        check(None, Some(KEY), Part::Certificate, "`c.pem` cannot be read: ");
        check(Some(CERTIFICATE), None, Part::Key, "`k.pem` cannot be read: ");
        for none in ["", KEY] {
            check(Some(none), Some(KEY), Part::Certificate, "`c.pem` holds no certificate chain");
        }
        for none in ["", CERTIFICATE] {
            check(Some(CERTIFICATE), Some(none), Part::Key, "`k.pem` holds no private key");
        }
        let told = "`k.pem` is not the key of the certificate in `c.pem`, expected its own";
        check(Some(AUTHORITY), Some(KEY), Part::Key, told);
        let cut = CERTIFICATE.replacen("MII", "MIJ", 1);
        check(Some(&cut), Some(KEY), Part::Certificate, "`c.pem` holds a certificate that cannot be read");
    }
}

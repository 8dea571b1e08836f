//! Key files, as pyzmq's `zmq.auth.load_certificate` and czmq's `zcert` write them, and lists of
//! allowed keys.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::Path;

use zeroize::Zeroizing;

use super::{Curve, CurveKeys, CurvePublicKey};
use crate::error::{Error, ErrorKind, Result};
use crate::transport::Locator;

/// The longest key file, in bytes.
const MAX_KEY_FILE: u64 = 64 << 10;
/// The longest list of allowed keys, in bytes.
const MAX_LIST: u64 = 16 << 20;

impl CurveKeys {
    /// Writes the pair to a new file that its owner alone may read (mode 0600), in the format of
    /// pyzmq's and czmq's certificates.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] with the path if there is such a file already, which is left
    /// as it is, or if the system refuses; a file that could not be written to its end is removed.
    pub fn write(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let (public, secret) = (self.public(), self.0.secret_text());
        let text = Zeroizing::new(format!(
            "# CURVE keys of ringbus, which pyzmq and czmq read, too. Keep this file secret.\n\
             metadata\ncurve\n    public-key = \"{public}\"\n    secret-key = \"{}\"\n",
            *secret
        ));
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(path).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => {
                refused(path, "it is there already, and a key is not overwritten: name a new file")
            }
            _ => failed(path, "cannot be written", error),
        })?;
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(|error| {
            // Half a key is of no use; where it cannot be removed, reading it fails.
            drop(std::fs::remove_file(path));
            failed(path, "cannot be written", error)
        })
    }

    /// Reads a pair from a file that [`write`](Self::write), pyzmq or czmq has written. The public
    /// key, if it is there, has to be that of the secret.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] with the path: a file that cannot be read, that others than
    /// its owner may read or write, or that holds no secret key. No part of a key is told.
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let file = File::open(path).map_err(|error| failed(path, "cannot be read", error))?;
        check_mode(path, &file)?;
        let text = read(path, file, MAX_KEY_FILE)?;
        let value = |name: &str| {
            let mut lines = text.lines().map(str::trim);
            let value = lines.find_map(|line| line.strip_prefix(name)?.trim_start().strip_prefix('='));
            value.map(|value| value.trim_matches([' ', '\t', '"', '\'']))
        };
        let secret = value("secret-key").ok_or_else(|| {
            refused(path, "it has no line secret-key = \"...\": a key file is written by ringbus keygen")
        })?;
        let keys = Self::from_secret(secret).map_err(|error| refused(path, &error.to_string()))?;
        match value("public-key").map(str::parse) {
            None => Ok(keys),
            Some(Ok(public)) if keys.public() == public => Ok(keys),
            Some(_) => Err(refused(path, "its public key is not that of its secret key")),
        }
    }
}

impl Curve {
    /// Allows what a file lists, a key a line: `KEY` as by [`allow`](Self::allow), and
    /// `KEY HOST:PORT`, with one address or several, as by [`allow_at`](Self::allow_at). Empty
    /// lines, and lines whose first word is `#`, say nothing.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] with the path and the number of the line.
    pub fn allow_file(mut self, path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let file = File::open(path).map_err(|error| failed(path, "cannot be read", error))?;
        let text = read(path, file, MAX_LIST)?;
        for (nth, line) in text.lines().enumerate() {
            let mut words = line.split_whitespace();
            // Keys may begin with it, too.
            let Some(key) = words.next().filter(|word| *word != "#") else { continue };
            let wrong = |error: Error| {
                let advice = "a line is KEY or KEY HOST:PORT, a comment begins with '# '";
                refused(path, &format!("line {}: {error}; {advice}", nth + 1))
            };
            let key: CurvePublicKey = key.parse().map_err(wrong)?;
            self = self.allow([key]);
            for address in words {
                let locator = match address.contains("://") {
                    true => Locator::new(address),
                    false => Locator::new(format!("zmq+tcp://{address}")),
                };
                self = locator.and_then(|at| self.allow_at(&at, key)).map_err(wrong)?;
            }
        }
        Ok(self)
    }
}

/// The text of a file of at most `max` bytes.
fn read(path: &Path, file: File, max: u64) -> Result<Zeroizing<String>> {
    let len = file.metadata().map_or(0, |metadata| metadata.len());
    // Made once, so that no part of a secret is left behind where it grew out of its place.
    let mut text = Zeroizing::new(String::with_capacity(len.min(max) as usize + 1));
    match file.take(max + 1).read_to_string(&mut text) {
        Ok(len) if len as u64 > max => Err(refused(path, &format!("it is longer than {max} bytes"))),
        Ok(_) => Ok(text),
        Err(error) => Err(failed(path, "cannot be read", error)),
    }
}

/// Refuses a key that others than its owner may read or replace.
#[cfg(unix)]
fn check_mode(path: &Path, file: &File) -> Result<()> {
    use std::os::unix::fs::MetadataExt;
    let metadata = file.metadata().map_err(|error| failed(path, "cannot be read", error))?;
    let mode = metadata.mode() & 0o777;
    if mode & 0o077 == 0 {
        return Ok(());
    }
    let reason = format!("its mode is {mode:04o}, others than its owner have the secret: chmod 600");
    Err(refused(path, &reason))
}

#[cfg(not(unix))]
fn check_mode(_path: &Path, _file: &File) -> Result<()> {
    Ok(())
}

fn kind(path: &Path, reason: String) -> ErrorKind {
    ErrorKind::InvalidArgument { what: "file of keys", value: path.display().to_string(), reason }
}

fn refused(path: &Path, reason: &str) -> Error {
    kind(path, reason.to_owned()).into()
}

fn failed(path: &Path, what: &str, error: io::Error) -> Error {
    Error::with_source(kind(path, format!("it {what}: {error}")), error)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "JTKVSB%%)wK0E.X)V>+}o?pNmC{O&4W4b!Ni{Lh6";
    const PUBLIC: &str = "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7";

    #[test]
    fn a_pair_is_written_for_its_owner_alone_and_read_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        let keys = CurveKeys::generate().unwrap();
        keys.write(&path).unwrap();
        assert_eq!(CurveKeys::read(&path).unwrap().public(), keys.public());
        let before = std::fs::read(&path).unwrap();
        let error = CurveKeys::generate().unwrap().write(&path).unwrap_err();
        assert!(error.to_string().contains("not overwritten"), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), before);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = |mode| std::fs::Permissions::from_mode(mode);
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
            for open in [0o640, 0o604, 0o644, 0o620] {
                std::fs::set_permissions(&path, mode(open)).unwrap();
                let error = CurveKeys::read(&path).unwrap_err();
                assert!(error.to_string().contains("chmod 600"), "{error}");
            }
            std::fs::set_permissions(&path, mode(0o400)).unwrap();
            assert!(CurveKeys::read(&path).is_ok());
        }
    }

    fn secret_file(text: &str) -> Result<CurveKeys> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        CurveKeys::from_secret(SECRET).unwrap().write(&path).unwrap();
        std::fs::write(&path, text).unwrap();
        CurveKeys::read(&path)
    }

    #[test]
    fn files_of_pyzmq_are_read_and_wrong_ones_refused_without_the_key() {
        let pyzmq = format!(
            "#   ****  Generated on 2026-11-30 12:00:00 by pyzmq  ****\n\nmetadata\ncurve\n    \
             public-key = \"{PUBLIC}\"\n    secret-key = \"{SECRET}\"\n"
        );
        assert_eq!(secret_file(&pyzmq).unwrap().public().to_string(), PUBLIC);
        let alone = format!("secret-key='{SECRET}'");
        assert_eq!(secret_file(&alone).unwrap().public().to_string(), PUBLIC);
        let wrong = [
            (String::new(), "no line secret-key"),
            (format!("public-key = \"{PUBLIC}\""), "no line secret-key"),
            (format!("secret-key = \"{}\"", &SECRET[1..]), "this has 39"),
            (pyzmq.replace(PUBLIC, SECRET), "not that of its secret key"),
            (pyzmq.replace(PUBLIC, ""), "not that of its secret key"),
            (format!("{pyzmq}{}", " ".repeat(MAX_KEY_FILE as usize)), "longer than"),
        ];
        for (text, reason) in wrong {
            let error = format!("{:?}", secret_file(&text).unwrap_err());
            assert!(error.contains(reason) && !error.contains(&SECRET[1..9]), "{error}");
        }
        let error = format!("{:?}", SECRET[1..].parse::<CurvePublicKey>().unwrap_err());
        assert!(!error.contains(&SECRET[1..9]), "{error}");
        assert!(!format!("{:?}", CurveKeys::from_secret(SECRET).unwrap()).contains(&SECRET[..8]));
    }

    #[test]
    fn a_list_has_keys_and_where_they_are_expected() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("allow");
        let allow = |text: &str| {
            std::fs::write(&path, text).unwrap();
            Curve::new(CurveKeys::from_secret(SECRET).unwrap()).allow_file(&path)
        };
        let [one, two] = [(); 2].map(|()| CurveKeys::generate().unwrap().public());
        let list = format!("# ours\n\n{one}\n  {two} 10.0.0.2:5556 tcp://host:1\n#\n");
        let curve = allow(&list).unwrap();
        assert_eq!(curve.clients().len(), 3);
        for (address, key) in
            [("tcp://10.0.0.2:5556", Some(two)), ("tcp://HOST:1", Some(two)), ("tcp://host:2", None)]
        {
            assert_eq!(curve.expected_at(&Locator::new(address).unwrap()), key, "{address}");
        }
        for (text, reason) in [
            (format!("\n{one} nowhere"), "line 2"),
            (format!("{one} 10.0.0.2:0"), "line 1"),
            (format!("{one} http://host:1"), "line 1"),
            ("#comment".to_owned(), "a comment begins with '# '"),
            ("key".to_owned(), "this has 3"),
        ] {
            let error = allow(&text).unwrap_err().to_string();
            assert!(error.contains(reason) && error.contains("allow\""), "{error}");
        }
    }
}

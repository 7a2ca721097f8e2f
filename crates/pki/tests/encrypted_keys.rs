//! Encrypted private keys, as another program made them.
#![allow(clippy::unwrap_used, reason = "tests")]

use pki::{PkiError, decrypted_key_pem, key_from_pem};

/// `openssl pkcs8 -topk8 -v2 aes-256-cbc -v2prf hmacWithSHA256`, passphrase `open`.
const ENCRYPTED: &str = "-----BEGIN ENCRYPTED PRIVATE KEY-----
MIHsMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAhHJ5skjlj1kgICCAAw
DAYIKoZIhvcNAgkFADAdBglghkgBZQMEASoEEGqsYxCPk3A3KpS0hIOpMQ0EgZD5
aLY7ISW/W/oE3B5I+ZOJVpD/H3q3m8LcnGkJetYB5F+J+zzp42n917XJoPIHYQEK
HE7BEis5WFoc0Nqx7IpBdfm6uO9GJG7tWpcLYw3qHqLMiFSwXExwMInMJs7LxUGj
74GzQ+dJzSjkEpzL+suDDniYD2pOebP1sXBKPWFMQDfFZDWMwcS+H0k98Dn2F7U=
-----END ENCRYPTED PRIVATE KEY-----
";

/// The same key.
const PLAIN: &str = "-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgNlPd519L1muInZTX
IcNnvC6kGwspjd8wjSmq1s/JkRqhRANCAAQ/G6NZBH33sV/BNg4gqXl0AHxaUjyV
HkYpXs4REn0/LGrtO460NaElIk1zgMDCWx0vvL3n833c35ZCIvZgw6Pe
-----END PRIVATE KEY-----
";

/// The same with two million rounds.
const COSTLY: &str = "-----BEGIN ENCRYPTED PRIVATE KEY-----
MIHtMFgGCSqGSIb3DQEFDTBLMCoGCSqGSIb3DQEFDDAdBAjsmt4/MJhFwgIDHoSA
MAwGCCqGSIb3DQIJBQAwHQYJYIZIAWUDBAEqBBDp1LK5MZWsZfn498fvebd6BIGQ
2o5VZLVQV8WHJPZ7tqfiY7m4/lVAGPLn/ZoKxaNUxRGiwYHbg1M21d1wCiTjWSse
PSl95XjdnAinrtCAkosE8kv9qS+wN9gH/ic410joQ1ndri/u96igwWHTDOqjV3iB
FKqKxXXdudgtPcU/t/Qan3EaMAV6b7tO6e8dMLWtrzBolUiXzMXgUCo0phRGCbmU
-----END ENCRYPTED PRIVATE KEY-----
";

/// The same under scrypt, whose memory its maker chooses.
const SCRYPT: &str = "-----BEGIN ENCRYPTED PRIVATE KEY-----
MIHkME8GCSqGSIb3DQEFDTBCMCEGCSsGAQQB2kcECzAUBAjMKUIYcXJ8RwICQAAC
AQgCAQEwHQYJYIZIAWUDBAEqBBChCPc1GQdOgLFK5NKGVpqsBIGQtSwJKlmwzbhX
gpJ2bIkNv7ThhAZnJEIofuZuuSJ8nwIGSctLEf+UmhcdkumGrjx4ScAhExmS1xx+
Zi+FOX988i1a2U8EDN+710fB/OyxDbGpVMMYHTF5W+WD985Eq4l5JQUxJ27fjDmp
h5QpKO7u7FWazuQE88xfc0JhofAAP9zh25mnk22D1y7WFxx2ww8u
-----END ENCRYPTED PRIVATE KEY-----
";

#[test]
fn a_key_opens_with_its_passphrase() {
    let opened = decrypted_key_pem(ENCRYPTED, b"open").unwrap();
    assert_eq!(key_from_pem(&opened).unwrap(), key_from_pem(PLAIN).unwrap());
}

#[test]
fn everything_else_is_refused() {
    for (text, passphrase, error) in [
        (ENCRYPTED, "wrong", PkiError::Passphrase),
        (ENCRYPTED, "", PkiError::Passphrase),
        (PLAIN, "open", PkiError::Missing("encrypted private key")),
        (COSTLY, "open", PkiError::UnknownKey),
        (SCRYPT, "open", PkiError::UnknownKey),
        ("", "open", PkiError::Pem("it cannot be read".to_owned())),
        ("no key", "open", PkiError::Pem("it cannot be read".to_owned())),
    ] {
        assert_eq!(decrypted_key_pem(text, passphrase.as_bytes()).unwrap_err(), error, "{text}");
    }
}

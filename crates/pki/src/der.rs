//! Cutting DER into its elements, for the few places that need the exact bytes rather than their meaning.

pub(crate) const INTEGER: u8 = 0x02;
pub(crate) const BIT_STRING: u8 = 0x03;
pub(crate) const SEQUENCE: u8 = 0x30;

/// One element: what is inside it, and all of it with its header.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Element<'a> {
    pub(crate) contents: &'a [u8],
    pub(crate) whole: &'a [u8],
}

/// Takes one element with that tag off the front. `None` if there is none such, or its length is not minimal
/// definite DER.
pub(crate) fn take<'a>(input: &mut &'a [u8], tag: u8) -> Option<Element<'a>> {
    let (&found, rest) = input.split_first()?;
    let (&first, rest) = rest.split_first()?;
    if found != tag {
        return None;
    }
    let (length, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        // Four length bytes are far above every size bound of this crate.
        let count = usize::from(first & 0x7f);
        if count == 0 || count > 4 {
            return None;
        }
        let (bytes, rest) = rest.split_at_checked(count)?;
        let length = bytes.iter().try_fold(0_usize, |sum, &byte| {
            sum.checked_mul(256).and_then(|sum| sum.checked_add(usize::from(byte)))
        })?;
        if bytes.first() == Some(&0) || length < 0x80 {
            return None;
        }
        (length, rest)
    };
    let (contents, after) = rest.split_at_checked(length)?;
    let header = input.len().checked_sub(rest.len())?;
    let (whole, _) = input.split_at_checked(header.checked_add(length)?)?;
    *input = after;
    Some(Element { contents, whole })
}

/// The bits of a BIT STRING's contents, which must be whole bytes.
pub(crate) fn whole_bytes(bit_string: &[u8]) -> Option<&[u8]> {
    match bit_string.split_first()? {
        (0, bytes) => Some(bytes),
        _ => None,
    }
}

/// The three parts of everything signed in X.509: the signed bytes, the algorithm (inside of its SEQUENCE)
/// and the signature.
pub(crate) struct Signed<'a> {
    pub(crate) message: &'a [u8],
    pub(crate) algorithm: &'a [u8],
    pub(crate) signature: &'a [u8],
}

/// Cuts a certificate or revocation list apart; nothing may follow it.
pub(crate) fn signed(mut input: &[u8]) -> Option<Signed<'_>> {
    let outer = take(&mut input, SEQUENCE)?;
    if !input.is_empty() {
        return None;
    }
    let mut inner = outer.contents;
    let message = take(&mut inner, SEQUENCE)?.whole;
    let algorithm = take(&mut inner, SEQUENCE)?.contents;
    let signature = whole_bytes(take(&mut inner, BIT_STRING)?.contents)?;
    inner.is_empty().then_some(Signed { message, algorithm, signature })
}

/// A SubjectPublicKeyInfo's algorithm (inside of its SEQUENCE) and key.
pub(crate) fn public_key(mut input: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut inner = take(&mut input, SEQUENCE)?.contents;
    let algorithm = take(&mut inner, SEQUENCE)?.contents;
    let key = whole_bytes(take(&mut inner, BIT_STRING)?.contents)?;
    (input.is_empty() && inner.is_empty()).then_some((algorithm, key))
}

/// Size in bits of an RSA public key (PKCS #1 form): of its modulus.
pub(crate) fn rsa_bits(mut key: &[u8]) -> Option<usize> {
    let mut inner = take(&mut key, SEQUENCE)?.contents;
    let modulus = take(&mut inner, INTEGER)?.contents;
    let modulus = strip_zeros(modulus);
    let top = modulus.first()?;
    let bits = modulus.len().checked_mul(8)?;
    bits.checked_sub(usize::try_from(top.leading_zeros()).ok()?)
}

/// An integer's bytes without leading zeros (which DER needs where the top bit is set): the form serial
/// numbers are compared and shown in.
pub(crate) fn strip_zeros(bytes: &[u8]) -> &[u8] {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    bytes.get(zeros..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_must_be_minimal_and_present() {
        let rows: &[(&[u8], Option<usize>)] = &[
            (&[0x30, 0x00], Some(0)),
            (&[0x30, 0x02, 1, 2, 9], Some(2)),
            (&[0x30, 0x03, 1, 2], None),
            (&[0x30, 0x80, 0, 0], None),
            (&[0x30, 0x81, 0x02, 1, 2], None),
            (&[0x30, 0x82, 0x00, 0x01, 1], None),
            (&[0x30, 0xff, 0xff], None),
            (&[0x31, 0x00], None),
            (&[0x30], None),
            (&[], None),
        ];
        for (input, expected) in rows {
            let mut rest = *input;
            let taken = take(&mut rest, SEQUENCE).map(|element| element.contents.len());
            assert_eq!(taken, *expected, "{input:x?}");
        }
    }

    #[test]
    fn serials_lose_their_leading_zeros() {
        assert_eq!(strip_zeros(&[0, 0x91]), &[0x91]);
        assert_eq!(strip_zeros(&[0, 0]), &[] as &[u8]);
    }
}

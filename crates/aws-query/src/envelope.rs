//! The documents around answers: success and error, EC2 form and Query form (spec: aws-client-vpn §2.0, §2.0.1).

use crate::ToXml;
use crate::xml::{element, escape};

/// First line of every document.
pub const XML_DECLARATION: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";

/// A whole EC2 answer: `<{action}Response xmlns="{namespace}"><requestId>…</requestId>…`.
pub fn response_xml<T: ToXml>(action: &str, namespace: &str, request_id: &str, response: &T) -> String {
    wrap_response(action, namespace, request_id, &response_body_xml(response))
}

/// The members of an answer only: what is kept to give the same answer again.
pub fn response_body_xml<T: ToXml>(response: &T) -> String {
    let mut out = String::new();
    response.content(&mut out);
    out
}

/// A whole EC2 answer around members from [`response_body_xml`].
pub fn wrap_response(action: &str, namespace: &str, request_id: &str, body: &str) -> String {
    document(&format!("{action}Response"), namespace, |out| {
        text("requestId", request_id, out);
        out.push_str(body);
    })
}

/// A whole answer of a Query service (STS, IAM): members in `<{action}Result>`, then the metadata.
pub fn query_response_xml<T: ToXml>(action: &str, namespace: &str, request_id: &str, response: &T) -> String {
    document(&format!("{action}Response"), namespace, |out| {
        element(&format!("{action}Result"), out, |out| response.content(out));
        element("ResponseMetadata", out, |out| text("RequestId", request_id, out));
    })
}

/// An EC2 error document.
pub fn ec2_error_xml(code: &str, message: &str, request_id: &str) -> String {
    document("Response", "", |out| {
        element("Errors", out, |out| {
            element("Error", out, |out| {
                text("Code", code, out);
                text("Message", message, out);
            });
        });
        text("RequestID", request_id, out);
    })
}

/// An error document of a Query service (STS, IAM). `sender`: the caller is at fault, not the service.
/// An empty namespace is left out.
pub fn query_error_xml(namespace: &str, sender: bool, code: &str, message: &str, request_id: &str) -> String {
    document("ErrorResponse", namespace, |out| {
        element("Error", out, |out| {
            text("Type", if sender { "Sender" } else { "Receiver" }, out);
            text("Code", code, out);
            text("Message", message, out);
        });
        text("RequestId", request_id, out);
    })
}

fn text(name: &str, value: &str, out: &mut String) {
    element(name, out, |out| escape(value, out));
}

fn document(root: &str, namespace: &str, write: impl FnOnce(&mut String)) -> String {
    let mut out = String::from(XML_DECLARATION);
    out.push('<');
    out.push_str(root);
    if !namespace.is_empty() {
        out.push_str(" xmlns=\"");
        escape(namespace, &mut out);
        out.push('"');
    }
    out.push('>');
    write(&mut out);
    out.push_str("</");
    out.push_str(root);
    out.push('>');
    out
}

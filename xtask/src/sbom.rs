//! The bill of materials, in CycloneDX's JSON form (version 1.6): every crate that is linked, and, marked as left out of the
//! binary, those that run while it is built. The same commit gives the same bytes.

use serde_json::{Value, json};

use crate::linked::{Crate, Id};

/// What the document is about beside the crates.
pub(crate) struct Subject<'s> {
    /// The commit's time, `YYYY-MM-DDTHH:MM:SSZ`.
    pub at: &'s str,
    /// The commit.
    pub commit: &'s str,
    /// The compiler's version, which is its standard library's.
    pub compiler: &'s str,
}

/// The document.
pub(crate) fn document(crates: &[Crate], subject: &Subject<'_>) -> Outcome {
    let own = crates.iter().find(|of| of.id.0 == "bascule").ok_or("there is no bascule in it")?;
    let mut components: Vec<Value> =
        crates.iter().filter(|of| of.id != own.id).map(|of| component(of, "library")).collect();
    let standard = format!("pkg:generic/rust-std@{}", subject.compiler);
    components.push(json!({
        "type": "library", "bom-ref": standard, "name": "rust-std", "version": subject.compiler, "scope": "required",
        "licenses": [{"expression": "MIT OR Apache-2.0"}], "purl": standard,
    }));
    let mut dependencies: Vec<Value> = crates.iter().map(edges).collect();
    dependencies.push(json!({"ref": standard, "dependsOn": []}));
    let mut program = component(own, "application");
    program["properties"] = json!([{"name": "git:commit", "value": subject.commit}]);
    let document = json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "timestamp": subject.at,
            "tools": {"components": [{"type": "application", "name": "xtask", "version": own.id.1}]},
            "component": program,
        },
        "components": components,
        "dependencies": dependencies,
    });
    serde_json::to_string_pretty(&document).map(|text| text + "\n").map_err(|error| error.to_string())
}

type Outcome = crate::run::Outcome<String>;

fn purl((name, version): &Id) -> String {
    format!("pkg:cargo/{name}@{}", version.replace('+', "%2B"))
}

fn component(of: &Crate, kind: &str) -> Value {
    let mut component = json!({
        "type": kind,
        "bom-ref": purl(&of.id),
        "name": of.id.0,
        "version": of.id.1,
        "scope": if of.in_binary { "required" } else { "excluded" },
        "licenses": [{"expression": of.licence}],
        "purl": purl(&of.id),
    });
    if let Some(checksum) = &of.checksum {
        component["hashes"] = json!([{"alg": "SHA-256", "content": checksum}]);
    }
    if let Some(address) = &of.repository {
        component["externalReferences"] = json!([{"type": "vcs", "url": address}]);
    }
    component
}

fn edges(of: &Crate) -> Value {
    json!({"ref": purl(&of.id), "dependsOn": of.uses.iter().map(purl).collect::<Vec<_>>()})
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::linked;

    #[test]
    fn it_lists_what_is_linked_each_once_and_says_what_is_not() {
        let crates = linked::own();
        let subject = Subject { at: "2026-01-02T03:04:05Z", commit: "abc", compiler: "1.2.3" };
        let text = document(crates, &subject).unwrap();
        let document: Value = serde_json::from_str(&text).unwrap();
        let rows = document["components"].as_array().unwrap();
        let refs: BTreeSet<&str> = rows.iter().map(|row| row["bom-ref"].as_str().unwrap()).collect();
        assert_eq!(refs.len(), rows.len());
        // All but the program itself, and the standard library.
        assert_eq!(rows.len(), crates.len());
        for of in crates.iter().filter(|of| of.id.0 != "bascule") {
            let row = rows.iter().find(|row| row["bom-ref"] == purl(&of.id)).unwrap();
            assert_eq!(row["scope"] == "required", of.in_binary);
            assert_eq!(row["hashes"][0]["content"].as_str(), of.checksum.as_deref());
        }
        for row in document["dependencies"].as_array().unwrap() {
            for used in row["dependsOn"].as_array().unwrap() {
                assert!(refs.contains(used.as_str().unwrap()), "{used}");
            }
        }
        assert_eq!(document["metadata"]["component"]["name"], "bascule");
    }
}

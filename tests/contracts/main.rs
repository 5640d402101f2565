//! The contracts: the committed files match the code and are valid.
#![expect(clippy::unwrap_used, reason = "a panic fails the test")]

mod agree;
mod released;
mod served;
#[path = "../support/mod.rs"]
mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use jsonschema::Validator;
use otpost::http::ProblemKind;
use otpost::http::contracts::Contract;
use serde_json::{Value, json};

fn committed(contract: Contract) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/contracts").join(contract.file())
}

/// A validator for the draft that the schema names, or for 2020-12. It checks formats.
fn validator(schema: &Value) -> Validator {
    jsonschema::options().should_validate_formats(true).build(schema).unwrap()
}

fn assert_fits(schema: &Validator, instance: &Value, what: &str) {
    let wrong: Vec<String> =
        schema.iter_errors(instance).map(|e| format!("{}: {e}", e.instance_path())).collect();
    assert!(wrong.is_empty(), "{what}: {wrong:#?}\n{instance:#}");
}

/// A schema inside a document. It may refer to the document's other schemas.
fn inside(document: &Value, schema: &Value) -> Validator {
    validator(&json!({"allOf": [schema], "components": document["components"]}))
}

#[test]
fn the_committed_contracts_match_the_code() {
    for contract in Contract::ALL {
        let file = committed(*contract);
        let same = fs::read_to_string(&file).is_ok_and(|text| text == contract.text());
        assert!(
            same,
            "{} does not match the code. Update it: cargo run -- contracts {contract} >docs/contracts/{}",
            file.display(),
            contract.file()
        );
    }
    let files = fs::read_dir(committed(Contract::Job).parent().unwrap()).unwrap();
    // The contracts of two-step are in the same folder, and have their own tests.
    let ours = files.filter(|f| !f.as_ref().unwrap().file_name().to_str().unwrap().starts_with("two-step"));
    assert_eq!(ours.count(), Contract::ALL.len(), "docs/contracts holds only the contracts");
}

#[test]
fn every_schema_is_valid_and_matches_its_examples() {
    let mut examples = 0;
    for contract in [Contract::Job, Contract::Feedback, Contract::Next, Contract::Cancel, Contract::Event] {
        let schema = contract.document();
        assert!(jsonschema::meta::is_valid(&schema), "{contract}");
        for example in schema["examples"].as_array().unwrap() {
            assert_fits(&validator(&schema), example, contract.as_str());
            examples += 1;
        }
    }
    assert!(examples >= 6, "{examples}");
}

#[test]
fn every_example_of_the_http_api_matches_its_schema() {
    let document = Contract::Openapi.document();
    let mut kinds = std::collections::BTreeSet::new();
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        for example in schema["examples"].as_array().into_iter().flatten() {
            assert_fits(&inside(&document, schema), example, name);
        }
    }
    for (path, operations) in document["paths"].as_object().unwrap() {
        for operation in operations.as_object().unwrap().values() {
            let answers = operation["responses"].as_object().unwrap().values();
            for content in answers.chain([&operation["requestBody"]]).map(|a| &a["content"]) {
                for media in content.as_object().into_iter().flat_map(|c| c.values()) {
                    let schema = inside(&document, &media["schema"]);
                    for (name, example) in media["examples"].as_object().into_iter().flatten() {
                        assert_fits(&schema, &example["value"], &format!("{path}: {name}"));
                        kinds.insert(name.clone());
                    }
                }
            }
        }
    }
    // 405 belongs to no operation. The receipts listener is for carriers.
    let elsewhere = [ProblemKind::Method, ProblemKind::InvalidCallback];
    let shown = ProblemKind::ALL.iter().filter(|k| !elsewhere.contains(k)).map(|k| k.as_str());
    let missing: Vec<_> =
        shown.chain(["plain", "notice", "sealed"]).filter(|name| !kinds.contains(*name)).collect();
    assert!(missing.is_empty(), "no example of {missing:?}");
}

#[test]
fn the_contract_of_the_http_api_is_openapi_3_1() {
    let python =
        std::env::var("OTPOST_TEST_PYTHON").expect("OTPOST_TEST_PYTHON is not set: run scripts/test");
    let program = "import json, sys\nfrom openapi_spec_validator import OpenAPIV31SpecValidator\n\
                   OpenAPIV31SpecValidator(json.load(open(sys.argv[1]))).validate()";
    let out = Command::new(python)
        .args(["-c", program, committed(Contract::Openapi).to_str().unwrap()])
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
}

/// The schema is the one of `@asyncapi/specs` 6.11.1 (npm, Apache-2.0), without its spaces.
#[test]
fn the_contract_of_the_broker_is_asyncapi_3_0_and_matches_its_examples() {
    let document = Contract::Asyncapi.document();
    let schema: Value = serde_json::from_str(include_str!("asyncapi-3.0.0.schema.json")).unwrap();
    assert_fits(&validator(&schema), &document, "asyncapi");
    let mut examples = 0;
    for (name, message) in document["components"]["messages"].as_object().unwrap() {
        for example in message["examples"].as_array().into_iter().flatten() {
            assert_fits(&validator(&message["payload"]["schema"]), &example["payload"], name);
            examples += 1;
        }
    }
    assert!(examples >= 6, "{examples}");
}

#[test]
fn every_reference_of_the_brokers_contract_resolves() {
    fn references<'d>(value: &'d Value, found: &mut Vec<&'d str>) {
        match value {
            Value::Object(map) => {
                found.extend(map.get("$ref").and_then(Value::as_str));
                map.values().for_each(|v| references(v, found));
            }
            Value::Array(list) => list.iter().for_each(|v| references(v, found)),
            _ => {}
        }
    }
    let document = Contract::Asyncapi.document();
    let mut found = vec![];
    references(&document, &mut found);
    assert!(found.len() > 10);
    for reference in found {
        let place = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(place).is_some(), "{reference}");
    }
}

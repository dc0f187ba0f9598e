//! Schemas that take in the members of another one.
//!
//! An item of a batch is "`do`, `id`, and what an update has". Described as the sum of two schemas (`allOf`), of which one admits no
//! further members, nothing would fit: in JSON Schema `additionalProperties: false` knows only the members beside it. So such sums are
//! written out as one object that is closed as a whole, which also is what generators of clients understand.

use std::collections::BTreeMap;

use utoipa::openapi::schema::{AdditionalProperties, AllOf};
use utoipa::openapi::{Object, RefOr, Schema};

type Schemas = BTreeMap<String, RefOr<Schema>>;

/// Writes out the alternatives that are sums with a closed part.
pub(super) fn write_out(schemas: &mut Schemas) {
    let known = schemas.clone();
    for schema in schemas.values_mut() {
        if let RefOr::T(Schema::OneOf(choice)) = schema {
            choice.items.iter_mut().for_each(|item| write_out_item(item, &known));
        }
    }
}

fn write_out_item(item: &mut RefOr<Schema>, known: &Schemas) {
    match item {
        RefOr::T(Schema::AllOf(sum)) => {
            if let Some(object) = sum_up(sum, known) {
                *item = RefOr::T(Schema::Object(object));
            }
        }
        // A sum's alternatives without one are open by default.
        RefOr::T(Schema::Object(object)) if object.properties.contains_key("do") => close(object),
        _ => {}
    }
}

fn sum_up(sum: &AllOf, known: &Schemas) -> Option<Object> {
    let parts: Vec<&Object> = sum.items.iter().map(|part| object(part, known)).collect::<Option<_>>()?;
    if !parts.iter().any(|part| is_closed(part)) {
        return None;
    }
    let mut whole = Object::new();
    whole.description.clone_from(&sum.description);
    for part in parts {
        whole.properties.extend(part.properties.clone());
        whole.required.extend(part.required.iter().cloned());
    }
    close(&mut whole);
    Some(whole)
}

fn object<'a>(schema: &'a RefOr<Schema>, known: &'a Schemas) -> Option<&'a Object> {
    match schema {
        RefOr::T(Schema::Object(object)) => Some(object),
        RefOr::T(_) => None,
        RefOr::Ref(reference) => match known.get(reference.ref_location.rsplit('/').next()?)? {
            RefOr::T(Schema::Object(object)) => Some(object),
            _ => None,
        },
    }
}

fn is_closed(object: &Object) -> bool {
    matches!(object.additional_properties.as_deref(), Some(AdditionalProperties::FreeForm(false)))
}

fn close(object: &mut Object) {
    object.additional_properties = Some(Box::new(AdditionalProperties::FreeForm(false)));
}

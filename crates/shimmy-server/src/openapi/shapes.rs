//! Shapes that no type of Rust describes as they are.

use std::marker::PhantomData;

use utoipa::openapi::schema::{
    AnyOfBuilder, ArrayBuilder, ArrayItems, ObjectBuilder, Schema, SchemaType, Type,
};
use utoipa::openapi::{Ref, RefOr};
use utoipa::{PartialSchema, ToSchema};

/// What the vendor's schema requires and there is nothing to say of.
pub(crate) fn null() -> Schema {
    let kind = SchemaType::from(Type::Null);
    ObjectBuilder::new().schema_type(kind).into()
}

/// A list that is always empty, for the same reason.
pub(crate) fn empty() -> Schema {
    ArrayBuilder::new().items(ArrayItems::False).into()
}

/// A text, or a list of objects with their `type`s: what each may hold is checked where it is read,
/// so that a complaint can name its place.
pub(crate) fn text_or_list() -> Schema {
    let of = |kind: Type| ObjectBuilder::new().schema_type(SchemaType::from(kind));
    AnyOfBuilder::new()
        .item(of(Type::String))
        .item(ArrayBuilder::new().items(of(Type::Object)))
        .item(of(Type::Null))
        .into()
}

/// Either of two, for a route that answers in two shapes. (An untagged enum would be described as
/// *exactly* one of them, which a body that both could read is not.)
pub(crate) struct Either<A, B>(PhantomData<(A, B)>);

impl<A: ToSchema, B: ToSchema> PartialSchema for Either<A, B> {
    fn schema() -> RefOr<Schema> {
        AnyOfBuilder::new()
            .item(reference::<A>())
            .item(reference::<B>())
            .into()
    }
}

impl<A: ToSchema, B: ToSchema> ToSchema for Either<A, B> {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((A::name().into(), A::schema()));
        schemas.push((B::name().into(), B::schema()));
        A::schemas(schemas);
        B::schemas(schemas);
    }
}

/// One of three, as [`Either`] is of two.
pub(crate) struct OneOfThree<A, B, C>(PhantomData<(A, B, C)>);

impl<A: ToSchema, B: ToSchema, C: ToSchema> PartialSchema for OneOfThree<A, B, C> {
    fn schema() -> RefOr<Schema> {
        AnyOfBuilder::new()
            .item(reference::<A>())
            .item(reference::<B>())
            .item(reference::<C>())
            .into()
    }
}

impl<A: ToSchema, B: ToSchema, C: ToSchema> ToSchema for OneOfThree<A, B, C> {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        Either::<A, B>::schemas(schemas);
        schemas.push((C::name().into(), C::schema()));
        C::schemas(schemas);
    }
}

/// One, or where several were asked for a list of them.
pub(crate) struct OneOrList<T>(PhantomData<T>);

impl<T: ToSchema> PartialSchema for OneOrList<T> {
    fn schema() -> RefOr<Schema> {
        AnyOfBuilder::new()
            .item(reference::<T>())
            .item(ArrayBuilder::new().items(reference::<T>()))
            .into()
    }
}

impl<T: ToSchema> ToSchema for OneOrList<T> {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((T::name().into(), T::schema()));
        T::schemas(schemas);
    }
}

fn reference<T: ToSchema>() -> Ref {
    Ref::from_schema_name(T::name())
}

/// An object of which a request can ask for some fields only.
pub(crate) struct Picked<T>(PhantomData<T>);

impl<T: ToSchema> PartialSchema for Picked<T> {
    fn schema() -> RefOr<Schema> {
        let mut schema = T::schema();
        if let RefOr::T(Schema::Object(object)) = &mut schema {
            object.required.clear();
        }
        schema
    }
}

impl<T: ToSchema> ToSchema for Picked<T> {
    fn name() -> std::borrow::Cow<'static, str> {
        T::name()
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        T::schemas(schemas);
    }
}

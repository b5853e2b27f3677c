//! The macro behind the table of routes.
//!
//! A row is `method "path" => handler;`, or `method "path" => handler as (operation, …);` for a
//! handler that stands for several documented operations, or `method "path" => handler like
//! "other";` for a path that is another's other name. One table gives the router, the list of
//! rows and the operations of `/openapi.json`: a route that is not documented does not compile.

/// Makes `routes()`, `TABLE`, `ALIASES` and `Operations` of the rows.
macro_rules! table {
    (@rows [$($routes:tt)*] [$($operations:tt)*] [$($aliases:tt)*]
        $method:ident $path:literal => $($handler:ident)::+; $($rest:tt)*
    ) => {
        $crate::table::table! {
            @rows [$($routes)* ($method $path $($handler)::+)]
            [$($operations)* $($handler)::+,] [$($aliases)*] $($rest)*
        }
    };
    (@rows [$($routes:tt)*] [$($operations:tt)*] [$($aliases:tt)*]
        $method:ident $path:literal => $($handler:ident)::+ as ($($operation:tt)+); $($rest:tt)*
    ) => {
        $crate::table::table! {
            @rows [$($routes)* ($method $path $($handler)::+)]
            [$($operations)* $($operation)+,] [$($aliases)*] $($rest)*
        }
    };
    (@rows [$($routes:tt)*] [$($operations:tt)*] [$($aliases:tt)*]
        $method:ident $path:literal => $($handler:ident)::+ like $other:literal; $($rest:tt)*
    ) => {
        $crate::table::table! {
            @rows [$($routes)* ($method $path $($handler)::+)]
            [$($operations)*] [$($aliases)* ($path, $other),] $($rest)*
        }
    };
    (@rows [$(($method:ident $path:literal $($handler:ident)::+))*] [$($operations:tt)*]
        [$($aliases:tt)*]
    ) => {
        /// A router with every row, before its layers.
        fn routes() -> axum::Router<std::sync::Arc<$crate::state::AppState>> {
            axum::Router::new()
                $(.route($path, axum::routing::$method($($handler)::+)))*
        }

        /// Every row's method and path.
        #[cfg(test)]
        pub(crate) const TABLE: &[(&str, &str)] = &[$((stringify!($method), $path)),*];

        /// Paths that are other names of another, with that one.
        pub(crate) const ALIASES: &[(&str, &str)] = &[$($aliases)*];

        /// The operations that the rows are documented as.
        #[derive(utoipa::OpenApi)]
        #[openapi(paths($($operations)*))]
        pub(crate) struct Operations;
    };
    ($($rows:tt)*) => {
        $crate::table::table! { @rows [] [] [] $($rows)* }
    };
}

pub(crate) use table;

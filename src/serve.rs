//! The start-up order.

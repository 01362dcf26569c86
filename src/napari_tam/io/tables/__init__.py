"""Tables that users write: CSV in the forms of their locales, and Excel's."""

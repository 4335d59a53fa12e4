"""Foreign devices in the store: their part of a batch's transaction, their enrolment, their commands."""

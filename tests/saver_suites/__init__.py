"""The test-suites of `langgraph-checkpoint-conformance`, `-sqlite` and `-postgres` on this project's savers."""

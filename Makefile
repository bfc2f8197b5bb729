# make setup: .venv with everything. make test: every test. make lint: ruff.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: setup test lint

setup: .venv/ready

.venv/ready: requirements.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet "$$(grep ^torch== requirements.txt)"
	$(BIN)/pip install --quiet -r requirements.txt
	touch $@

lint: setup
	$(BIN)/ruff check .

test: setup
	$(BIN)/pytest

# make setup: .venv with everything. make demo: both contests on demo data. make test: every test. make lint: ruff.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: setup demo test lint

setup: .venv/ready

.venv/ready: requirements.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet "$$(grep ^torch== requirements.txt)"
	$(BIN)/pip install --quiet -r requirements.txt
	touch $@

demo: setup
	$(BIN)/python -m competitions.demo

lint: setup
	$(BIN)/ruff check .

test: setup
	$(BIN)/pytest

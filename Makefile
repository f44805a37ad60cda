# Every target does all of its own set-up: it needs git, make and a Python >= 3.11 with pip, and changes nothing outside
# of this folder. Choose the Python with PYTHON=/path/to/python.

PYTHON ?= $(shell for p in python3.11 python3 python3.12 python3.13 python3.14 python; do \
	$$p -c 'import sys, pip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && { echo $$p; break; }; done)

ENVIRONMENT = $(PYTHON) scripts/progress.py scripts/environment.py
DEV = .venv
# SUITE: prebuilt and langchain have an environment of their own, and one beside it with the original engine.
BESIDE = $(filter prebuilt langchain,$(SUITE))
CONFORMANCE_SET = $(or $(BESIDE),conformance)
CONFORMANCE = .venv-$(CONFORMANCE_SET)
SERVICES_ENV = $(if $(filter 1,$(SERVICES)),services-env)
BENCH = .venv-bench
FRAMEWORKS = adk autogen crewai langchain langgraph openai-agents semantic-kernel
LOAD_PEERS = pydantic-graph llama-index-workflows burr neograph-engine agentcore-graph
PROPERTIES = tests/resources/test_properties.py tests/core/test_machine.py tests/engine/test_properties.py tests/engine/test_kills.py

.DEFAULT_GOAL := help

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: demo-env ## An agent program written for LangGraph, running on this engine, and what a step costs on both
	@.venv-demo/bin/python -m examples.demo $(ARGS)

.PHONY: chat
chat: chat-env ## A chat page in the browser, with an embedded model that needs no key (ARGS='my_app.agents:support' for your own)
	@test -n "$(ARGS)" || echo "an embedded model answers, without a key; your own agent: make chat ARGS='my_app.agents:support'"
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.stdout.isatty() else 1)' && opens=--open; \
		exec .venv-chat/bin/python -m stategraph dev $$opens $(ARGS)

.PHONY: e2e
e2e: e2e-env ## The chat page in a real browser (needs Chromium, or CHROMIUM=/path/to/it; ARGS='-k word' chooses)
	@.venv-e2e/bin/python -m tests.e2e $(ARGS)

.PHONY: vendor
vendor: ## Fetch the libraries of the chat page anew, as pinned in its vendor.json (needs `npm`)
	$(PYTHON) scripts/vendor.py

.PHONY: test
test: dev-env ## The project's own tests, and at the end what was left out and why (ARGS='-k word' chooses)
	@echo "the project's own tests: some minutes, less with ARGS='-n 2' (two processes) or ARGS='tests/core' (a part of them)"
	@MAKE_TARGET=test $(DEV)/bin/python -m pytest -rfEs $(ARGS)

.PHONY: oldest
oldest: oldest-env ## The project's own tests with the oldest langchain-core and packages of governance that are supported (ARGS='tests/core' chooses)
	.venv-oldest/bin/python -m pytest -q -n 2 --dist worksteal -p no:cacheprovider $(or $(ARGS),$(addprefix tests/,agent compat engine governance graph prebuilt run))

.PHONY: check
check: dev-env ## Format, lint, types, import contracts, shape of the code
	$(DEV)/bin/ruff format --check .
	$(DEV)/bin/ruff check .
	$(DEV)/bin/mypy
	$(DEV)/bin/lint-imports
	$(DEV)/bin/python scripts/shape.py
	$(DEV)/bin/python scripts/diagram.py --check
	$(DEV)/bin/python scripts/pictures.py --check
	$(DEV)/bin/python scripts/figures.py --check
	$(DEV)/bin/python scripts/settings.py --check
	$(DEV)/bin/python scripts/losses.py --check

.PHONY: format
format: dev-env ## Rewrite the code the way `make check` wants it
	$(DEV)/bin/ruff format .
	$(DEV)/bin/ruff check --fix .
	$(DEV)/bin/python scripts/diagram.py
	$(DEV)/bin/python scripts/pictures.py
	$(DEV)/bin/python scripts/figures.py
	$(DEV)/bin/python scripts/settings.py
	$(DEV)/bin/python scripts/losses.py
	$(DEV)/bin/python scripts/terminal.py

.PHONY: signals
signals: dev-env ## Stop runs by signals at random times: no hang, nothing lost or twice (N=2000 SEED=1)
	$(DEV)/bin/python -m tests.stopping.signals --number $(or $(N),2000) --seed $(or $(SEED),1)

.PHONY: crashes
crashes: dev-env ## Kill processes inside their saves and tear logs off: nothing lost, nothing half there (N=1000 SEED=1)
	$(DEV)/bin/python -m tests.savers.crashes --number $(or $(N),1000) --seed $(or $(SEED),1) $(ARGS)

.PHONY: workers
workers: dev-env ## The contract of worker pools on each backend, and how workers die (ARGS='-k process')
	$(DEV)/bin/python -m pytest -q tests/workers $(ARGS)

.PHONY: traps
traps: dev-env $(if $(PEERS),peers-env) ## Failures that other systems had with leases and with approvals, played here (PEERS=1: also with the OpenAI Agents SDK)
	$(DEV)/bin/python -m pytest -q tests/workers/test_traps.py tests/workers/test_unknown_window.py $(ARGS)
	$(DEV)/bin/python -m tests.governance.traps $(if $(PEERS),--peer $(CURDIR)/.venv-peers/bin/python)
	$(if $(PEERS),mkdir -p .cache/langchain && ln -sfn $(CURDIR)/.venv-peers/lib/python3*/site-packages/langchain .cache/langchain/ && \
		PYTHONPATH=.cache/langchain $(DEV)/bin/python -m pytest -q tests/governance/executing -k "langchain")

.PHONY: acting-kills
acting-kills: dev-env ## Kill processes at random while they act: every effect began in the audit log, none happened twice (N=2000 SEED=1)
	$(DEV)/bin/python -m tests.governance.executing.kills --number $(or $(N),2000) --seed $(or $(SEED),1)

.PHONY: manifests
manifests: dev-env ## Read the manifests that users wrote, wait until they are ready, and run each with a scripted model
	$(DEV)/bin/python -m tests.resources.seed

.PHONY: foreign-manifests
foreign-manifests: dev-env ## Convert the manifests of others in folders that you fetched, and compare topologies edge by edge (FOLDER='argo-workflows/examples kagent crewAI')
	$(DEV)/bin/python -m tests.resources.foreign $(FOLDER)

.PHONY: resource-kills
resource-kills: dev-env ## Kill the process that reconciles resources at each of its transactions: the next one ends in the same state (N=50 SEED=1 for points at random)
	$(DEV)/bin/python -m tests.resources.kills --points $(or $(N),0) --seed $(or $(SEED),1)

.PHONY: chaos
chaos: dev-env ## Kill and stop workers at random: no effect twice, the same end, the same events (SEED=7 N=50 STORE=postgres|nats|jobs REFERENCE=python)
	$(DEV)/bin/python -m tests.workers.$(if $(filter jobs,$(STORE)),chaos_jobs,chaos --store $(or $(STORE),sqlite)) \
		--seed $(or $(SEED),1) --number $(or $(N),50) $(if $(REFERENCE),--reference $(REFERENCE)) $(ARGS)

.PHONY: types
types: dev-env ## mypy and pyright, strict, over the examples of graphs, and programs that are right and wrong (needs `npm`)
	$(DEV)/bin/python -m tests.graph.typed

.PHONY: typed-output
typed-output: dev-env ## Random output types x models that answer rightly, wrongly once, wrongly always, in three modes (N=200 SEED=1)
	$(DEV)/bin/python -m tests.agent.output.typed_answers $(or $(N),200) $(or $(SEED),1)

.PHONY: golden
golden: dev-env ## Recordings of @librechat/agents, held against the Run API (ARGS='-k word' chooses)
	$(DEV)/bin/python -m tests.golden $(ARGS)

.PHONY: conformance
conformance: conformance-env $(if $(BESIDE),reference-env) $(SERVICES_ENV) ## LangGraph's own tests on this engine (FILES='test_state.py' K='word' SERVICES=1 SUITE=prebuilt|langchain)
	$(PYTHON) tests/conformance/run.py --python $(CONFORMANCE)/bin/python $(ARGS)

.PHONY: mcp-conformance
mcp-conformance: dev-env ## The MCP client held against the protocol's suite on two revisions, beside the official Python SDK (needs `npm`; ARGS='--only auth/')
	$(DEV)/bin/python -m tests.mcp_conformance $(ARGS)

.PHONY: mcp-server-conformance
mcp-server-conformance: dev-env ## The MCP server held against the same suite, required scenarios and others (needs `npm`; ARGS='--only tasks-')
	$(DEV)/bin/python -m tests.mcp_conformance.servers $(ARGS)

.PHONY: expected
expected: reference-env $(SERVICES_ENV) ## List anew what LangGraph itself passes (SERVICES=1: what it passes besides, given servers)
	$(PYTHON) tests/conformance/run.py --python $(CONFORMANCE)-reference/bin/python --reference --write-expected $(ARGS)

.PHONY: follow
follow: python ## What is newer than the target on the package index, and its tests on this engine (ARGS='--fresh')
	$(PYTHON) tests/conformance/follow.py $(ARGS)

.PHONY: bench
bench: bench-env dev-env ## Both engines side by side: the table of ratios (ARGS='--json out.json')
	$(PYTHON) benchmarks/run.py --python $(CURDIR)/$(BENCH)/bin/python $(ARGS)
	$(if $(ARGS),,$(BENCH)/bin/python -m benchmarks.workers)
	$(if $(ARGS),,$(DEV)/bin/python -m benchmarks.telemetry)
	$(if $(ARGS),,$(DEV)/bin/python -m benchmarks.resources)
	$(if $(ARGS),,$(DEV)/bin/python -m benchmarks.declared)
	$(if $(ARGS),,$(DEV)/bin/python -m benchmarks.plugins)
	$(if $(ARGS),,$(DEV)/bin/python -m benchmarks.fleet)
	$(if $(ARGS),,$(DEV)/bin/python -m benchmarks.governance --peer .venv-acs/bin/python)

.PHONY: load
load: bench-env load-env ## Many runs and token streams at once on both engines, other engines beside them (ARGS='--only tokens --rounds 3')
	$(PYTHON) -m benchmarks.load --python $(CURDIR)/$(BENCH)/bin/python $(ARGS)

.PHONY: load-server
load-server: server-env ## Our server beside LangGraph's development server: runs/s, first byte, open readers (ARGS='--quick', ARGS=--alone)
	.venv-server/bin/python -m benchmarks.server $(ARGS)

.PHONY: interop
interop: bench-env ## Threads begun on one engine and finished on the other, both ways
	$(PYTHON) tests/interop/run.py --python $(CURDIR)/$(BENCH)/bin/python $(ARGS)

.PHONY: savers
savers: savers-env ## The suites of langgraph-checkpoint-conformance, -sqlite and -postgres on our savers as on theirs (ARGS=--quick)
	@$(PYTHON) -m tests.saver_suites --python $(CURDIR)/.venv-savers/bin/python $(ARGS)

.PHONY: acs
acs: dev-env acs-env ## The cases of the Agent Control Specification on our policies, and on the reference implementation beside them
	@$(DEV)/bin/python -m tests.governance.acs --reference .venv-acs/bin/python $(ARGS)

.PHONY: runs
runs: runs-env ## Runs of graphs written for LangGraph, on both engines: what they tell against the graphs' own streams (ARGS='--only swarm')
	@$(PYTHON) -m tests.runs --python $(CURDIR)/.venv-runs/bin/python --reference $(CURDIR)/.venv-runs-reference/bin/python $(ARGS)

.PHONY: coming-from
coming-from: peers-env dev-env ## The programs of docs/coming-from.md in other frameworks and here: they print the same (ARGS='--only langchain')
	@$(DEV)/bin/python -m tests.coming_from --python .venv-peers/bin/python $(ARGS)

.PHONY: server
server: server-env ## LangGraph's development server on both engines: every call of its SDK, and the SDK's own tests (ARGS='--part calls --only words')
	$(PYTHON) -m tests.server.integration
	.venv-server/bin/python -m tests.server $(ARGS)

.PHONY: server-replicas
server-replicas: dev-env ## Replicas of the server on PostgreSQL that are killed, and readers that hop between them (ARGS='--runs 20 --seed 7')
	@$(DEV)/bin/python -m tests.server.replicas $(ARGS)

.PHONY: cluster
cluster: dev-env ## Hosts in network namespaces that are killed, added, cut off and replaced while 500 runs go on (root, `ip`; ARGS='--runs 50 --seed 7')
	@$(DEV)/bin/python -m tests.cluster $(ARGS)

.PHONY: judges
judges: dev-env ## Suites that nobody here wrote, held against the server and its references (ARGS='--only mcp', ARGS=--stopped)
	@$(DEV)/bin/python -m tests.judges $(ARGS)

.PHONY: frameworks
frameworks: dev-env ## Agents of LangChain, LangGraph, AutoGen, CrewAI, Semantic Kernel, Mastra, ADK and OpenAI's SDK, served and asked (ARGS='--only crewai')
	@$(DEV)/bin/python -m tests.frameworks $(ARGS)

.PHONY: mutants
mutants: dev-env ## How many random single changes of the code the tests notice (N=60 a group, SEED=1, ARGS='--groups core --jobs 2')
	$(DEV)/bin/python -m tests.mutation --count $(or $(N),60) --seed $(or $(SEED),1) $(ARGS)

.PHONY: fuzz
fuzz: bench-env ## Random programs on both engines, compared (N=2000 SEED=7, CASE=12 for one of them)
	$(PYTHON) -m tests.fuzz --python $(CURDIR)/$(BENCH)/bin/python --count $(or $(N),200) --seed $(or $(SEED),1) \
		$(if $(CASE),--case $(CASE)) $(ARGS)

.PHONY: fuzz-nightly
fuzz-nightly: ## 10,000 random programs, other ones each day
	$(MAKE) fuzz N=$(or $(N),10000) SEED=$(or $(SEED),$(shell date +%Y%m%d))

.PHONY: properties
properties: dev-env ## What must hold of the core and of runs, thousands of examples of each (N=2000)
	STATEGRAPH_EXAMPLES=$(or $(N),2000) $(DEV)/bin/python -m pytest -q -x $(PROPERTIES) $(ARGS)

.PHONY: flow-kills
flow-kills: dev-env ## Kill processes in the middle of branches and fan-outs, on SQLite and PostgreSQL: nothing lost, nothing twice (N=2000)
	STATEGRAPH_EXAMPLES=$(or $(N),2000) $(DEV)/bin/python -m pytest -q -x tests/dataflow/test_flow_kills.py tests/dataflow/test_fan_out_model.py tests/dataflow/test_edits.py $(ARGS)

.PHONY: instrumentation
instrumentation: instrumentation-env mlflow-env ## Spans of OpenTelemetry, Datadog and others on both engines (ARGS='--verbose sentry')
	$(PYTHON) tests/instrumentation/run.py --python $(CURDIR)/.venv-instrumentation/bin/python \
		--mlflow-python $(CURDIR)/.venv-mlflow/bin/python $(ARGS)

COMPILE = uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --quiet --upgrade

.PHONY: vocabulary
vocabulary: ## The vocabularies of OpenAI's tokenisers, for exact token counts in the tests (needs `npm`)
	$(PYTHON) scripts/vocabulary.py .cache/tiktoken

.PHONY: lock
lock: ## Resolve the requirements anew (needs `uv`)
	cd requirements && for set in acs conformance dev chat e2e oldest bench deploy docs image instrumentation judges-ag-ui judges-schemathesis mlflow $(addprefix load-,$(LOAD_PEERS)) $(addprefix framework-,$(FRAMEWORKS)) peers prebuilt release savers services server core; do \
		$(COMPILE) $$set.in --output-file $$set.txt || exit 1; done
	cd requirements && $(COMPILE) --no-deps langgraph.in --output-file langgraph.txt
	cd requirements && $(subst 3.11,3.12,$(COMPILE)) helm.in --output-file helm.txt
	cd requirements && for set in langchain runs; do \
		$(COMPILE) --no-emit-package langgraph $$set.in --output-file $$set.txt || exit 1; done

.PHONY: docs
docs: dev-env docs-env ## The documentation site in build/docs: built without a warning, its links checked, its code run (ARGS=--quick: not run)
	@$(DEV)/bin/python scripts/docsite.py --zensical .venv-docs/bin/zensical $(ARGS)

.PHONY: wheel
wheel: release-env ## Wheel and sdist: built twice and compared, checked, installed beside the core's dependencies alone (ARGS=--quick: on one Python)
	@$(PYTHON) scripts/wheel.py --python .venv-release/bin/python $(ARGS)

.PHONY: kubernetes
kubernetes: dev-env ## Definitions of the kinds and what deploy/ has, held against Kubernetes' schemas; says what could not run (needs `kubectl`; HELM=/path/to/python with helm-sdkpy)
	@$(DEV)/bin/python scripts/kubernetes.py $(if $(HELM),--helm $(HELM))

.PHONY: deploy-check
deploy-check: dev-env deploy-env helm-env ## Chart, kustomize, compose and image held against the tools of others, and their commands started; says what could not run (ARGS=--quick)
	@$(DEV)/bin/python -m tests.deploy $(ARGS)

.PHONY: metadata
metadata: dev-env ## A wheel that says `langgraph` and holds no file, for packages that require it (see docs/drop-in.md)
	cd scripts/langgraph-metadata && $(CURDIR)/$(DEV)/bin/python -m hatchling build -t wheel -d $(CURDIR)/dist

.PHONY: clean
clean: ## Delete the environments and everything that was built
	rm -rf .venv .venv-* .venv.* .conformance .bench .interop .cache build dist \
		.mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

.PHONY: dev-env
dev-env: python
	@$(ENVIRONMENT) $(DEV) requirements/dev.txt --link

.PHONY: oldest-env
oldest-env: python
	@$(ENVIRONMENT) .venv-oldest requirements/oldest.txt --link

.PHONY: conformance-env
conformance-env: python
	@PIP_NO_DEPS=1 $(ENVIRONMENT) $(CONFORMANCE) requirements/$(CONFORMANCE_SET).txt

.PHONY: docs-env
docs-env: python
	@$(ENVIRONMENT) .venv-docs requirements/docs.txt

.PHONY: deploy-env
deploy-env: python
	@$(ENVIRONMENT) .venv-deploy requirements/deploy.txt || echo "the tools of deploy-check cannot be installed here"

# helm-sdkpy needs a Python from 3.12 on: the first one that is found, also where pyenv keeps it.
.PHONY: helm-env
helm-env: python
	@for each in python3.12 python3.13 python3.14 $${PYENV_ROOT:-$$HOME/.pyenv}/versions/3.1[2-4].*/bin/python; do \
		if $$each -c 'import sys, pip, venv; sys.exit(sys.version_info < (3, 12))' >/dev/null 2>&1; then \
			$$each scripts/environment.py .venv-helm requirements/helm.txt && exit 0; fi; done; \
		echo "helm-sdkpy cannot be installed here: it needs a Python from 3.12 on"

.PHONY: release-env
release-env: python
	@$(ENVIRONMENT) .venv-release requirements/release.txt

# pip reads the values of options that say "no" the other way round: this one switches compiling off.
.PHONY: chat-env
chat-env: python
	@PIP_NO_COMPILE=no $(ENVIRONMENT) .venv-chat requirements/chat.txt --link

.PHONY: e2e-env
e2e-env: python
	@$(ENVIRONMENT) .venv-e2e requirements/e2e.txt --link

.PHONY: demo-env
demo-env: python
	@PIP_NO_COMPILE=no $(ENVIRONMENT) .venv-demo requirements/demo.txt --link

# The pinned lists are complete, so nothing asks for dependencies: langchain's would bring the original engine along.
.PHONY: reference-env
reference-env: python
	@PIP_NO_DEPS=1 $(ENVIRONMENT) $(CONFORMANCE)-reference requirements/$(CONFORMANCE_SET).txt requirements/langgraph.txt

.PHONY: services-env
services-env: python
	@$(ENVIRONMENT) .venv-services requirements/services.txt

.PHONY: instrumentation-env
instrumentation-env: python
	@$(ENVIRONMENT) .venv-instrumentation requirements/instrumentation.txt --link

.PHONY: mlflow-env
mlflow-env: python
	@$(ENVIRONMENT) .venv-mlflow requirements/mlflow.txt --link

.PHONY: bench-env
bench-env: python
	@$(ENVIRONMENT) $(BENCH) requirements/bench.txt --link

.PHONY: savers-env
savers-env: python
	@$(ENVIRONMENT) .venv-savers requirements/savers.txt --link

# Where it cannot be installed, `make acs` says so and runs ours alone.
.PHONY: acs-env
acs-env: python
	@$(ENVIRONMENT) .venv-acs requirements/acs.txt || echo "the reference cannot be installed here"

.PHONY: server-env
server-env: python
	@$(ENVIRONMENT) .venv-server requirements/server.txt --link

.PHONY: peers-env
peers-env: python
	@$(ENVIRONMENT) .venv-peers requirements/peers.txt --link

# An engine that cannot be installed here is left out, and the table says so.
.PHONY: load-env
load-env: python
	@for peer in $(LOAD_PEERS); do $(ENVIRONMENT) .venv-load-$$peer requirements/load-$$peer.txt \
		|| echo "$$peer cannot be installed here"; done

# As for the reference: the agent libraries would bring the original engine along.
.PHONY: runs-env
runs-env: python
	@PIP_NO_DEPS=1 $(ENVIRONMENT) .venv-runs requirements/runs.txt --link
	@PIP_NO_DEPS=1 $(ENVIRONMENT) .venv-runs-reference requirements/runs.txt requirements/langgraph.txt --link

.PHONY: python
python:
	@test -n "$(PYTHON)" || { echo "no Python >= 3.11 with pip was found; name one with PYTHON=/path/to/python"; exit 1; }

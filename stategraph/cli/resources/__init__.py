"""Commands on resources: what is declared is applied, listed, explained and run.

Words, options and columns are kubectl's, where it has them. Reading commands open the store alone and import neither
LangChain nor the models of kinds; those that bring something about import the runtime.
"""

"""Add up the lines of an invoice, given as JSON on standard input: a list of {"net": cents, "tax": percent}."""

import json
import sys
from collections import defaultdict
from decimal import ROUND_HALF_UP, Decimal

nets: dict[Decimal, int] = defaultdict(int)
for line in json.load(sys.stdin):
    nets[Decimal(str(line["tax"]))] += int(line["net"])
taxes = {rate: (net * rate / 100).quantize(Decimal(1), ROUND_HALF_UP) for rate, net in nets.items()}
net, tax = sum(nets.values()), int(sum(taxes.values()))
print(json.dumps({"net": net, "tax": tax, "gross": net + tax}))

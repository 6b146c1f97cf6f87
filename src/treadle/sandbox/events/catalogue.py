"""The products of the shop. They are the same in every sandbox."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

PRODUCTS: Final = 2_000
_SKEWED: Final = 4_096  # a power of two, so that some bits of a random number are an index
_CATEGORIES: Final = (
    ("electronics.smartphone", 10.5, 0.7),  # code, mean and spread of the logarithm of the price in cents
    ("electronics.audio.headphone", 8.6, 0.8),
    ("electronics.clocks", 9.9, 0.7),
    ("computers.notebook", 11.5, 0.5),
    ("computers.peripherals.mouse", 7.7, 0.6),
    ("appliances.kitchen.kettle", 8.1, 0.5),
    ("appliances.environment.vacuum", 10.0, 0.6),
    ("furniture.living_room.sofa", 11.3, 0.5),
    ("furniture.kitchen.table", 10.2, 0.5),
    ("apparel.shoes", 8.6, 0.5),
    ("apparel.costume", 8.3, 0.6),
    ("kids.toys", 7.6, 0.7),
    ("sport.bicycle", 11.0, 0.6),
    ("auto.accessories.player", 8.9, 0.5),
    ("stationery.cartridge", 7.9, 0.4),
    (None, 8.0, 1.0),  # some products have a category without a code
)
_BRANDS: Final = (
    "norvik",
    "aurelo",
    "tamzin",
    "kestrel",
    "mirabo",
    "osterby",
    "lumina",
    "quanto",
    "brindle",
    "sévigny",
    "halden",
    "piqo",
    None,
)
_DEAREST_CENTS: Final = 1_500_000


@dataclass(frozen=True, slots=True)
class Product:
    """One product. texts: its fields as JSON text, but for the price; head: the same as they stand in a record."""

    texts: dict[str, str]
    head: str
    price_cents: int


@cache
def products() -> Sequence[Product]:
    """All products, the favourites of the customers first."""
    draw = random.Random("catalogue 1")  # noqa: S311 - the same products each time
    return tuple(_product(number, draw) for number in range(PRODUCTS))


@cache
def skewed() -> Sequence[int]:
    """Indexes into `products`, 4,096 of them, the favourites often."""
    return tuple(int(PRODUCTS * (step / _SKEWED) ** 2.2) for step in range(_SKEWED))


def _product(number: int, draw: random.Random) -> Product:
    place = draw.randrange(len(_CATEGORIES))
    code, mean, spread = _CATEGORIES[place]
    brand = draw.choice(_BRANDS)
    texts = {
        "product_id": str(1_000_000 + number * 17),
        "category_id": str(2_053_013_555_631_882_655 + place * 8_388_617),  # more than a double can hold exactly
        "category_code": f'"{code}"' if code else "null",
        "brand": f'"{brand}"' if brand else "null",
    }
    head = ",".join(f'"{name}":{text}' for name, text in texts.items())
    return Product(texts, head, min(_DEAREST_CENTS, max(49, round(draw.lognormvariate(mean, spread)))))


def price_text(cents: int) -> str:
    """A price as JSON number, with two decimals."""
    return f"{cents // 100}.{cents % 100:02d}"

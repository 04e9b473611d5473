"""Where highdicom 0.28.2 departs from the standard, each with the rule that is restored.

Each repair has a test that fails when highdicom no longer needs it. Not repaired, but avoided:
its SR classes read a clock and refuse headers that we must copy as they are (``document``
takes their place); its image library needs attributes that a CR image may lack
(``measurement_report`` makes TID 1600 itself); it has no Basic Text SR (``text_report``).
"""

from pydicom.dataset import Dataset

from schemas import codes

_UNCERTAINTIES = {codes.LOWER_UNCERTAINTY.value, codes.UPPER_UNCERTAINTY.value}


def repair_uncertainty_units(item: Dataset) -> None:
    """Give measurement uncertainties the unit of their measurement, in place, down the tree.

    TID 310 rows 7 to 9: the units of the uncertainty are those of the NUM that it belongs to.
    highdicom writes "no units".
    """
    measured = item.get("MeasuredValueSequence")
    for child in item.get("ContentSequence", []):
        if measured and child.ConceptNameCodeSequence[0].CodeValue in _UNCERTAINTIES:
            units = measured[0].MeasurementUnitsCodeSequence
            child.MeasuredValueSequence[0].MeasurementUnitsCodeSequence = list(units)
        repair_uncertainty_units(child)


def repair_population_meaning(item: Dataset) -> None:
    """Give 121405 the meaning that PS3.16 annex D gives it, in place, down the tree.

    highdicom writes "Population Description"; a validator compares the case.
    """
    for child in item.get("ContentSequence", []):
        name = child.ConceptNameCodeSequence[0]
        if name.CodeValue == codes.POPULATION_DESCRIPTION.value:
            name.CodeMeaning = codes.POPULATION_DESCRIPTION.meaning
        repair_population_meaning(child)

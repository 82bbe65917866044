"""The names of cases, and which cases are visits of one patient.

In: the path of a case, or its id. Out: its id, and its patient's.
"""

import re

from brats.cases.names import stem
from brats.errors import InputError, shortened
from brats.files import read_table

TABLE = "patients.csv"  # In the data folder; it decides where it exists.
COLUMNS = ("case", "patient")
# Names of folders, and ends of ids, that are a visit of a patient. Capitals make no difference.
VISIT = (
    r"(?:ses-\w+|(?:session|week|timepoint|time|tp|visit|day|month|fu|follow-?up)[-_ ]?\d+[a-z]?"
    r"(?:[-_]\d+)?|baseline|pre-?op|post-?op|(?:19|20)\d\d[-_.]?\d\d[-_.]?\d\d)"
)
# Names of folders that name no case. They are left out of its id.
UNNAMED = ("anat", "hdbet_brats-space", "brats_output", "output", "outputdir", "nifti", "images")
PATIENT = r"(?:sub|subject|pat|patient|patientid|pid|pt)[-_ ]*\d+"
# The last number of these ids is always 1, and they were patients in earlier versions.
BRATS_2017 = r"brats1\d"


def case_id(path, root):
    """Returns the id of a case.

    It is the name of its folder or image. A folder of a visit, one without a name of its own such
    as `anat`, and any folder in a patient's folder, is named by its path: "sub-01_ses-1".

    Args:
        path: Path of the case.
        root: The data folder.
    """
    names = path.absolute().parts
    start = len(names) - 1
    while start > 1 and (names[start].lower() in UNNAMED or _is(VISIT, names[start])):
        start -= 1
    inside = range(len(root.absolute().parts), start)
    start = next((index for index in inside if _is(PATIENT, names[index])), start)
    kept = [name for name in names[start:-1] if name.lower() not in UNNAMED]
    last = [] if kept and names[-1].lower() in UNNAMED else [stem(path)]
    return "_".join([*kept, *last])


def patient_of(case_id, edition):
    """Returns the patient of a case: the id without the visit, so that all visits stay together.

    The visit is what the edition says, or what follows the name of a patient ("sub-01"), or an end
    such as "_week-044", or a last number after another one that is at least as long.
    """
    if edition.visit and (found := re.search(edition.visit, case_id, re.IGNORECASE)):
        return case_id[: found.start()]
    if found := re.match(rf"{PATIENT}(?=_)", case_id, re.IGNORECASE):
        return found[0]
    patient = re.sub(rf"(?:[-_]{VISIT})+$", "", case_id, flags=re.IGNORECASE)
    number = re.search(r"(?:^|[-_])(\d+)[-_](\d+)$", patient)
    if number and len(number[2]) <= len(number[1]) and not re.match(BRATS_2017, patient, re.I):
        return patient[: number.start(2) - 1]
    return patient


def read_patients(root, ids):
    """Reads the table of patients of a data folder.

    Args:
        root: The data folder, a `Path`.
        ids: Ids of its cases.

    Returns:
        Dict from case id to patient; empty if there is no table.

    Raises:
        InputError: If the table is wrong, or does not have one of the cases.
    """
    path = root / TABLE
    if not path.exists():
        return {}
    rows = read_table(path)
    patients = {row.get("case"): row.get("patient") for row in rows}
    if not rows or not all(row.get(name) for row in rows for name in COLUMNS):
        problem = f"expected the columns {' and '.join(COLUMNS)}, and a value in each line"
    elif len(patients) < len(rows):
        problem = "a case is in it twice"
    elif missing := [each for each in ids if each not in patients]:
        problem = f"it lacks {shortened(', '.join(missing), 80)}"
    else:
        return patients
    raise InputError(f"{path} cannot be used: {problem}. Correct or remove it.")


def _is(pattern, name):
    return re.fullmatch(pattern, name, re.IGNORECASE) is not None

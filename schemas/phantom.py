"""How the constancy phantom is known: by a Patient ID that no hospital gives."""

PHANTOM_PATIENT_ID = "BONEAGE-PHANTOM"
PHANTOM_PATIENT_NAME = "PHANTOM^BONEAGE"

-- Route radiographs from Orthanc to the bone-age worker.
--
-- In orthanc.json:
--   "LuaScripts": ["/etc/orthanc/autoroute.lua"],
--   "JobsHistorySize": 1000,        // the default of 10 forgets failed transfers
--   "DicomModalities": {
--     "boneage": { "AET": "BONEAGE", "Host": "127.0.0.1", "Port": 11112 }
--   }
-- In the worker's config.toml: a [[peer]] with Orthanc's AE title, host and DICOM port.
--
-- The worker decides itself which images it reads ([[intake.rule]]), so this script may be coarse.
-- What the worker gets twice it answers with Success and reads once.

local WORKER = 'boneage'      -- name under DicomModalities
local WORKER_AET = 'BONEAGE'  -- [listener] ae_title
local MODALITIES = { CR = true, DX = true }

function OnStoredInstance(instanceId, tags, metadata, origin)
   -- what the worker itself stores is not sent back to it
   if origin['RemoteAet'] == WORKER_AET then return end
   if not MODALITIES[tags['Modality']] then return end

   -- A job of the REST interface fails visibly while the worker is away, and can be sent again:
   --   curl 'http://localhost:8042/jobs?expand'
   --   curl -X POST -d '' http://localhost:8042/jobs/ID/resubmit
   -- SendToModality() would report success although nobody was there.
   RestApiPost('/modalities/' .. WORKER .. '/store',
               DumpJson({ Resources = { instanceId }, Asynchronous = true }, true))
end

"""Every request that the sandbox answers, by API number; any other gets SYS_UNMATCHED_API_NUM."""

from __future__ import annotations

from sandbox.irods import (
    access_control,
    admin,
    auth,
    bundles,
    checksums,
    collections,
    genquery2,
    metadata,
    objects,
    query,
    registration,
    removal,
    renaming,
    replication,
)
from sandbox.irods.agent import Api

APIS = {
    api.number: api
    for api in (
        Api(601, "DataObjInp_PI", objects.create),
        Api(602, "DataObjInp_PI", objects.open_),
        Api(606, "DataObjInp_PI", objects.put),
        Api(608, "DataObjInp_PI", objects.get),
        Api(615, "DataObjInp_PI", removal.unlink),
        Api(619, "DataObjInfo_PI", registration.register_object),
        Api(622, "ModDataObjMeta_PI", registration.modify_object, admin=True),
        Api(627, "DataObjCopyInp_PI", renaming.rename),
        Api(629, "DataObjInp_PI", checksums.checksum),
        Api(630, "DataObjInp_PI", registration.register_path),
        Api(632, "DataObjInp_PI", removal.trim),
        Api(652, "DataObjInp_PI", objects.truncate),
        Api(665, "StructFileExtAndRegInp_PI", bundles.unpack_and_register),
        Api(666, "StructFileExtAndRegInp_PI", bundles.pack_collection),
        Api(673, "OpenedDataObjInp_PI", objects.close),
        Api(674, "OpenedDataObjInp_PI", objects.seek),
        Api(675, "OpenedDataObjInp_PI", objects.read),
        Api(676, "OpenedDataObjInp_PI", objects.write),
        Api(679, "CollInpNew_PI", collections.remove),
        Api(681, "CollInpNew_PI", collections.create),
        Api(688, "GenQueryOut_PI", registration.register_bulk),
        Api(689, "BulkOprInp_PI", bundles.put_bulk),
        Api(695, "DataObjInp_PI", replication.replicate),
        Api(696, "DataObjCopyInp_PI", replication.copy),
        Api(701, "generalAdminInp_PI", admin.general, admin=True),
        Api(702, "GenQueryInp_PI", query.gen_query),
        Api(703, None, auth.legacy_request),
        Api(704, "authResponseInp_PI", auth.legacy_response),
        Api(706, "ModAVUMetadataInp_PI", metadata.modify_avu),
        Api(707, "modAccessControlInp_PI", access_control.modify_access),
        Api(714, "userAdminInp_PI", admin.own_account),
        Api(802, "DataObjInp_PI", objects.truncate_replica),
        Api(10220, "DataObjInp_PI", objects.resource_for),
        Api(10221, "Genquery2Input_PI", genquery2.query),
        Api(20000, "BinBytesBuf_PI", objects.describe),
        Api(20002, "BinBytesBuf_PI", metadata.apply_atomically),
        Api(20003, "DataObjInp_PI", objects.open_replica),
        Api(20004, "BinBytesBuf_PI", objects.close_replica),
        Api(20007, "BinBytesBuf_PI", objects.touch),
        Api(20008, "DataObjInp_PI", registration.register_path_json),
        Api(110000, "BinBytesBuf_PI", auth.authenticate),
    )
}
